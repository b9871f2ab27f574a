/*
** Puts the VFS under test into a program that was not written for it: loads the shared object that registers it,
** breaks one of its methods if that is wanted, and makes it the default. All of it is said by the environment:
**
**   CONFORMANCE_SO, CONFORMANCE_ENTRY   the shared object and its entry point; none for a VFS of SQLite's own
**   CONFORMANCE_VFS                     the VFS that becomes the default
**   CONFORMANCE_BREAK                   the method that is broken (broken.c), for a negative control
**   CONFORMANCE_MIX                     a file that counts processes: every second one stays on stock "unix"
**   CONFORMANCE_LOG                     a file; each process that exits adds what it opened through which VFS
**
** A VFS that cannot be set up fails sqlite3_initialize(): a run that silently used the stock one would prove nothing.
*/
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "inject.h"
SQLITE_EXTENSION_INIT1

typedef int (*entry_point)(sqlite3*, char**, const sqlite3_api_routines*);
typedef int (*open_method)(sqlite3_vfs*, const char*, sqlite3_file*, int, int*);

enum { MAIN, JOURNAL, WAL, OTHER, KINDS };
static struct counted {
  sqlite3_vfs *vfs;
  open_method open;
  int opened[KINDS];
} counts[4];
static const char *side = "ours";

static const char *setting(const char *name){
  const char *value = getenv(name);
  return value && value[0] ? value : 0;
}

static int kind(int flags){
  if( flags & SQLITE_OPEN_MAIN_DB ) return MAIN;
  if( flags & SQLITE_OPEN_MAIN_JOURNAL ) return JOURNAL;
  return flags & SQLITE_OPEN_WAL ? WAL : OTHER;
}

static int counting_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out){
  int rc, i = 0;
  while( counts[i].vfs!=vfs ) i++;
  rc = counts[i].open(vfs, name, file, flags, out);
  if( rc==SQLITE_OK ) __atomic_add_fetch(&counts[i].opened[kind(flags)], 1, __ATOMIC_RELAXED);
  return rc;
}

void conformance_count(sqlite3_vfs *vfs){
  int i = 0;
  while( counts[i].vfs && counts[i].vfs!=vfs ) i++;
  if( vfs==0 || counts[i].vfs ) return; /* counted already, maybe under other layers */
  counts[i].open = vfs->xOpen;
  counts[i].vfs = vfs;
  vfs->xOpen = counting_open;
}

/* One line a process: side, name of the program, and main databases, journals, WALs and others of each VFS. */
static void report(void){
  char line[512];
  int i, size, fd = open(setting("CONFORMANCE_LOG"), O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC, 0666);
  if( fd<0 ) return;
  size = snprintf(line, sizeof line, "%s %d", side, (int)getpid());
  for(i=0; i<4 && counts[i].vfs; i++){
    const int *n = counts[i].opened;
    size += snprintf(line+size, sizeof line - size, " %s=%d,%d,%d,%d", counts[i].vfs->zName,
                     n[MAIN], n[JOURNAL], n[WAL], n[OTHER]);
  }
  line[size++] = '\n';
  if( write(fd, line, size)!=size ) perror("conformance: log");
  close(fd);
}

/* Processes take turns in the order in which they start. */
static int stays_on_stock(const char *counter){
  int turn = 0, fd = open(counter, O_RDWR|O_CREAT|O_CLOEXEC, 0666);
  if( fd<0 || flock(fd, LOCK_EX)!=0 ) return -1;
  if( pread(fd, &turn, sizeof turn, 0)<0 ) return -1;
  turn++;
  if( pwrite(fd, &turn, sizeof turn, 0)!=sizeof turn ) return -1;
  close(fd);
  return turn%2==0;
}

static int failed(const char *what, const char *detail){
  fprintf(stderr, "conformance: %s: %s\n", what, detail ? detail : "?");
  return SQLITE_ERROR;
}

static int load(const char *path, const sqlite3_api_routines *api){
  const char *name = setting("CONFORMANCE_ENTRY");
  void *so = dlopen(path, RTLD_NOW|RTLD_LOCAL);
  entry_point entry = so ? (entry_point)dlsym(so, name ? name : "sqlite3_extension_init") : 0;
  char *error = 0;
  int rc;
  if( entry==0 ) return failed(path, dlerror());
  rc = entry(0, &error, api);
  return rc==SQLITE_OK || rc==SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : failed(path, error);
}

static sqlite3_vfs *chosen(void){
  const char *name = setting("CONFORMANCE_VFS"), *broken = setting("CONFORMANCE_BREAK");
  sqlite3_vfs *vfs = sqlite3_vfs_find(name ? name : "unix");
  return vfs && broken ? conformance_broken(vfs, broken) : vfs;
}

int conformance_start(const sqlite3_api_routines *api, int **instruments){
  static int again = 0;
  static int stock = 0;
  const char *path = setting("CONFORMANCE_SO"), *mix = setting("CONFORMANCE_MIX");
  sqlite3_vfs *vfs;
  SQLITE_EXTENSION_INIT2(api);
  if( path && load(path, api)!=SQLITE_OK ) return SQLITE_ERROR;
  if( !again && mix && (stock = stays_on_stock(mix))<0 ) return failed(mix, "cannot be counted in");
  vfs = stock ? sqlite3_vfs_find("unix") : chosen();
  if( vfs==0 ) return failed("no such vfs or method", setting("CONFORMANCE_VFS"));
  if( setting("CONFORMANCE_LOG") ){
    conformance_count(sqlite3_vfs_find("unix"));
    conformance_count(vfs);
    if( !again ) atexit(report);
  }
  if( stock ) side = "stock";
  if( instruments && vfs!=sqlite3_vfs_find("unix") ) conformance_instruments(vfs, instruments);
  again = 1;
  return sqlite3_vfs_register(vfs, 1);
}
