/*
** What none of SQLite's programs notices when it is broken, looked at from the outside: through SQLite, over the
** default VFS, with processes where it takes processes. `own CASE DB`; exit code 0, or a sentence and 1.
*/
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sqlite3.h"

static void fail(const char *format, ...){
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

static sqlite3 *opened(const char *path){
  sqlite3 *db;
  if( sqlite3_open(path, &db)!=SQLITE_OK ) fail("open: %s", sqlite3_errmsg(db));
  return db;
}

static void sql(sqlite3 *db, const char *text){
  char *error = 0;
  if( sqlite3_exec(db, text, 0, 0, &error)!=SQLITE_OK ) fail("%s: %s", text, error);
}

static int number(sqlite3 *db, const char *text){
  sqlite3_stmt *statement;
  int found = -1, rc = sqlite3_prepare_v2(db, text, -1, &statement, 0);
  if( rc==SQLITE_OK && (rc = sqlite3_step(statement))==SQLITE_ROW ) found = sqlite3_column_int(statement, 0);
  if( rc!=SQLITE_ROW ) fail("%s: %s", text, sqlite3_errmsg(db));
  sqlite3_finalize(statement);
  return found;
}

/* A process of its own, which does not share a descriptor of a database: it is started before one is open. */
static pid_t other(void (*body)(const char*, int, int), const char *path, int *from, int *to){
  int up[2], down[2];
  pid_t pid;
  if( pipe(up)!=0 || pipe(down)!=0 || (pid = fork())<0 ) fail("no process");
  if( pid==0 ){
    close(up[0]);
    close(down[1]);
    body(path, down[0], up[1]);
    exit(0);
  }
  close(up[1]);
  close(down[0]);
  *from = up[0];
  *to = down[1];
  return pid;
}

static void say(int to){
  if( write(to, "x", 1)!=1 ) fail("nobody listens");
}

static void hear(int from){
  char byte;
  if( read(from, &byte, 1)!=1 ) fail("the other process ended");
}

static void ended(pid_t pid){
  int status = -1;
  if( waitpid(pid, &status, 0)<0 || status!=0 ) fail("the other process failed: %d", status);
}

/* Holds RESERVED with a journal on the disk until it is told to end. The header of a journal that is to be synced is
** zeros until then, and makes it look cold; that of one that is not says at once what it is. */
static void hold_reserved(const char *path, int from, int to){
  sqlite3 *db = opened(path);
  sql(db, "PRAGMA synchronous=OFF; BEGIN IMMEDIATE; UPDATE t SET x=x+1");
  say(to);
  hear(from);
  sql(db, "COMMIT");
  sqlite3_close(db);
}

static void make_table(const char *path, const char *mode){
  pid_t pid = fork();
  if( pid==0 ){
    sqlite3 *db = opened(path);
    char text[200];
    snprintf(text, sizeof text, "PRAGMA journal_mode=%s; CREATE TABLE t(x); INSERT INTO t VALUES(1)", mode);
    sql(db, text);
    sqlite3_close(db);
    exit(0);
  }
  ended(pid);
}

/* A journal whose writer lives is not hot: readers must get in, and must not roll it back. (xCheckReservedLock) */
static void reserved(const char *path){
  int from, to, rows;
  pid_t writer;
  struct stat journal;
  char name[500];
  sqlite3 *db;
  make_table(path, "DELETE");
  writer = other(hold_reserved, path, &from, &to);
  hear(from);
  snprintf(name, sizeof name, "%s-journal", path);
  if( stat(name, &journal)!=0 || journal.st_size==0 ) fail("the writer has no journal");
  db = opened(path);
  rows = number(db, "SELECT x FROM t");
  if( rows!=1 ) fail("%d instead of the row before", rows);
  sqlite3_close(db);
  say(to);
  ended(writer);
  db = opened(path);
  rows = number(db, "SELECT x FROM t");
  if( rows!=2 ) fail("%d instead of the row after", rows);
  sqlite3_close(db);
}

/* The last one to close a database removes -wal and -shm; somebody who is not the last leaves them. (xShmUnmap) */
static void last_close(const char *path){
  static const char *const suffixes[] = { "-wal", "-shm" };
  sqlite3 *first, *second;
  int i, round;
  make_table(path, "WAL");
  first = opened(path);
  second = opened(path);
  sql(first, "INSERT INTO t VALUES(2)");
  number(second, "SELECT count(*) FROM t");
  for(round=0; round<2; round++){
    if( sqlite3_close(round ? second : first)!=SQLITE_OK ) fail("close");
    for(i=0; i<2; i++){
      char name[500];
      snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
      if( (access(name, F_OK)==0)!=(round==0) ) fail("%s after close %d", suffixes[i], round+1);
    }
  }
}

/* What lies beyond the end of a file reads as zeros, and says so. (xRead) */
static void short_read(const char *path){
  static const int offsets[] = { 0, 1, 100, 4095, 4096, 5000 };
  unsigned char bytes[512];
  sqlite3 *db = opened(path);
  sqlite3_file *file = 0;
  size_t i, at;
  sql(db, "PRAGMA journal_mode=OFF; PRAGMA page_size=4096; CREATE TABLE t(x)");
  if( sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file)!=SQLITE_OK ) fail("no file");
  if( file->pMethods->xTruncate(file, 4096)!=SQLITE_OK ) fail("truncate");
  for(i=0; i<sizeof offsets/sizeof *offsets; i++){
    int there = 4096 - offsets[i], expected = there>=512 ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
    memset(bytes, 0xa5, sizeof bytes);
    if( file->pMethods->xRead(file, bytes, 512, offsets[i])!=expected ) fail("code at %d", offsets[i]);
    for(at=there<0 ? 0 : there; at<sizeof bytes; at++){
      if( bytes[at]!=0 ) fail("byte %d at %d is %d", (int)at, offsets[i], bytes[at]);
    }
  }
  sqlite3_close(db);
}

static int control(sqlite3 *db, int op, int argument){
  int rc = sqlite3_file_control(db, "main", op, &argument);
  return rc==SQLITE_OK ? argument : -rc;
}

/* File controls: answers where SQLite acts on them, SQLITE_NOTFOUND for what is unknown. (xFileControl) */
static void controls(const char *path){
  char moved[500];
  sqlite3 *db = opened(path);
  sql(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
  if( control(db, 0x7fff0001, 0)!=-SQLITE_NOTFOUND ) fail("an unknown control is accepted");
  if( control(db, SQLITE_FCNTL_PERSIST_WAL, -1)!=0 ) fail("the WAL is persistent");
  if( control(db, SQLITE_FCNTL_PERSIST_WAL, 1)!=1 ) fail("the WAL cannot be made persistent");
  if( control(db, SQLITE_FCNTL_PERSIST_WAL, -1)!=1 ) fail("it is not persistent after that");
  if( control(db, SQLITE_FCNTL_HAS_MOVED, -1)!=0 ) fail("moved");
  snprintf(moved, sizeof moved, "%s-moved", path);
  if( rename(path, moved)!=0 || control(db, SQLITE_FCNTL_HAS_MOVED, -1)!=1 ) fail("not moved");
  if( rename(moved, path)!=0 || control(db, SQLITE_FCNTL_HAS_MOVED, -1)!=0 ) fail("moved for ever");
  sqlite3_close(db);
  snprintf(moved, sizeof moved, "%s-wal", path);
  if( access(moved, F_OK)!=0 ) fail("the WAL did not persist");
}

/* A fixed piece of work, of which the caller traces what it syncs. (xSync, xDelete) */
static void syncs(const char *path){
  static const char *const modes[] = { "DELETE", "TRUNCATE", "PERSIST", "WAL" };
  int i;
  sqlite3 *db = opened(path);
  sql(db, "CREATE TABLE t(x)");
  for(i=0; i<4; i++){
    char text[400];
    snprintf(text, sizeof text, "PRAGMA journal_mode=%s; PRAGMA synchronous=EXTRA; INSERT INTO t VALUES(1);"
             "INSERT INTO t VALUES(2); PRAGMA synchronous=NORMAL; INSERT INTO t VALUES(3);", modes[i]);
    sql(db, text);
  }
  sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
  sqlite3_close(db);
}

/* Two names of one database share one journal. (xFullPathname) */
static void symbolic_link(const char *path){
  char name[500], journal[520];
  sqlite3 *db;
  make_table(path, "DELETE");
  snprintf(name, sizeof name, "%s-link", path);
  snprintf(journal, sizeof journal, "%s-journal", path);
  if( symlink(path, name)!=0 ) fail("symlink");
  db = opened(name);
  sql(db, "BEGIN IMMEDIATE; UPDATE t SET x=5");
  if( access(journal, F_OK)!=0 ) fail("the journal is not beside the database");
  sql(db, "COMMIT");
  sqlite3_close(db);
}

/* A file that cannot be written is opened for reading, and SQLite learns of it. (xOpen) Not as root. */
static void read_only(const char *path){
  sqlite3 *db;
  make_table(path, "DELETE");
  if( chmod(path, 0444)!=0 ) fail("chmod");
  db = opened(path);
  if( sqlite3_db_readonly(db, "main")!=1 ) fail("not known to be read-only");
  if( number(db, "SELECT x FROM t")!=1 ) fail("cannot be read");
  if( sqlite3_exec(db, "UPDATE t SET x=3", 0, 0, 0)!=SQLITE_READONLY ) fail("SQLite would write");
  sqlite3_close(db);
}

/* A closed database leaves no descriptor; the file may be deleted and made anew. (xClose) */
static void descriptors(const char *path){
  int i, before = dup(0);
  close(before);
  for(i=0; i<50; i++){
    sqlite3 *db = opened(path);
    sql(db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)");
    sqlite3_close(db);
  }
  i = dup(0);
  close(i);
  if( i>before+2 ) fail("%d descriptors are left", i-before);
}

int main(int count, char **arguments){
  static const struct { const char *name; void (*run)(const char*); } cases[] = {
    { "reserved", reserved }, { "last-close", last_close }, { "short-read", short_read }, { "controls", controls },
    { "syncs", syncs }, { "symlink", symbolic_link }, { "read-only", read_only }, { "descriptors", descriptors },
  };
  size_t i;
  for(i=0; count==3 && i<sizeof cases/sizeof *cases; i++){
    if( strcmp(cases[i].name, arguments[1])!=0 ) continue;
    cases[i].run(arguments[2]);
    return 0;
  }
  fprintf(stderr, "usage: own CASE DB\n");
  return 2;
}
