/*
** Processes that write to one database as fast as they are let, each in its own transactions:
** `contend DB MODE PROCESSES SECONDS`. Prints how many commits each of them made.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "sqlite3.h"

static double now(void){
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec/1e9;
}

static void check(sqlite3 *db, int rc, const char *what){
  if( rc==SQLITE_OK || rc==SQLITE_DONE ) return;
  fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
  exit(1);
}

static sqlite3 *opened(const char *path){
  sqlite3 *db;
  check(db, sqlite3_open(path, &db), "open");
  sqlite3_busy_timeout(db, 60000);
  check(db, sqlite3_exec(db, "PRAGMA synchronous=NORMAL", 0, 0, 0), "synchronous");
  return db;
}

/* All begin at the same moment, and stop at the first commit after the end. */
static int commits(const char *path, double begin, double end){
  sqlite3 *db = opened(path);
  sqlite3_stmt *insert;
  int made = 0;
  check(db, sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?1, randomblob(100))", -1, &insert, 0), "prepare");
  while( now()<begin ) usleep(100);
  while( now()<end ){
    check(db, sqlite3_exec(db, "BEGIN IMMEDIATE", 0, 0, 0), "begin");
    sqlite3_bind_int(insert, 1, (int)getpid());
    sqlite3_step(insert);
    check(db, sqlite3_reset(insert), "insert");
    check(db, sqlite3_exec(db, "COMMIT", 0, 0, 0), "commit");
    made++;
  }
  sqlite3_finalize(insert);
  sqlite3_close(db);
  return made;
}

/* In a process of its own: the parent must not have the database open when it forks. */
static void prepare(const char *path, const char *mode){
  char text[200];
  sqlite3 *db = opened(path);
  snprintf(text, sizeof text, "PRAGMA journal_mode=%s; CREATE TABLE t(who, what)", mode);
  check(db, sqlite3_exec(db, text, 0, 0, 0), text);
  sqlite3_close(db);
  exit(0);
}

int main(int count, char **arguments){
  int i, processes, status, pipes[2], failed = 0;
  double begin, end;
  if( count!=5 || pipe(pipes)!=0 ) return 2;
  processes = atoi(arguments[3]);
  if( fork()==0 ) prepare(arguments[1], arguments[2]);
  wait(&status);
  if( status!=0 ) return 1;
  begin = now() + 0.2;
  end = begin + atof(arguments[4]);
  for(i=0; i<processes; i++){
    if( fork()==0 ){
      int made = commits(arguments[1], begin, end);
      return write(pipes[1], &made, sizeof made)!=sizeof made;
    }
  }
  close(pipes[1]);
  while( wait(&status)>0 ) failed |= status;
  while( read(pipes[0], &i, sizeof i)==sizeof i ) printf("%d\n", i);
  return failed!=0;
}
