/*
** What connections to a WAL database cost over two VFSes, in turns in one process:
** `connections OURS STOCK ROUNDS COUNT`, in an empty directory. COUNT is how many readers the second half has.
**
** Prints a line for each round of each measurement: its name, and the microseconds of both VFSes.
**   alone    open, read, close, where no other connection is open: the close deletes -wal and -shm
**   beside   the same beside a connection that stays open
**   select   one read while COUNT other connections are in a read transaction
**   close    the close of one of those
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include "sqlite3.h"

enum { OURS, STOCK, SIDES };
static const char *vfs[SIDES];
static const char *paths[SIDES] = { "ours.db", "stock.db" };

static double now(void){
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec*1e6 + time.tv_nsec/1e3;
}

static void must(sqlite3 *db, int rc, const char *what){
  if( rc==SQLITE_OK ) return;
  fprintf(stderr, "%s: %s\n", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  exit(1);
}

static void run(sqlite3 *db, const char *sql){
  must(db, sqlite3_exec(db, sql, 0, 0, 0), sql);
}

static sqlite3 *opened(int side){
  sqlite3 *db = 0;
  int flags = SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE;
  must(db, sqlite3_open_v2(paths[side], &db, flags, vfs[side]), paths[side]);
  return db;
}

static void closed(sqlite3 *db){
  must(db, sqlite3_close(db), "close");
}

/* Microseconds of one cycle, of so many. */
static double cycles(int side, int count){
  double begin = now();
  int i;
  for(i=0; i<count; i++){
    sqlite3 *db = opened(side);
    run(db, "SELECT * FROM t");
    closed(db);
  }
  return (now()-begin)/count;
}

static double selects(sqlite3 *db, int count){
  double begin = now();
  int i;
  for(i=0; i<count; i++) run(db, "SELECT * FROM t");
  return (now()-begin)/count;
}

/* Whoever is second has the warmer machine, so the first of a round changes. */
static void cycle_rounds(const char *name, int rounds){
  int round, turn;
  for(round=0; round<rounds; round++){
    double micros[SIDES];
    for(turn=0; turn<SIDES; turn++){
      int side = (round+turn)%SIDES;
      micros[side] = cycles(side, 50);
    }
    printf("%s %.3f %.3f\n", name, micros[OURS], micros[STOCK]);
  }
}

static sqlite3 **readers(int side, int count){
  sqlite3 **all = malloc(count*sizeof *all);
  int i;
  if( all==0 ) exit(1);
  for(i=0; i<count; i++){
    all[i] = opened(side);
    run(all[i], "BEGIN; SELECT * FROM t");
  }
  return all;
}

static void reader_rounds(int rounds, int count){
  sqlite3 *own[SIDES], **others[SIDES];
  double micros[SIDES];
  int round, turn, side, i;
  for(side=0; side<SIDES; side++){
    own[side] = opened(side);
    others[side] = readers(side, count);
  }
  for(round=0; round<rounds; round++){
    for(turn=0; turn<SIDES; turn++){
      side = (round+turn)%SIDES;
      micros[side] = selects(own[side], 1000);
    }
    printf("select %.3f %.3f\n", micros[OURS], micros[STOCK]);
  }
  /* Every round closes its part of them. */
  for(round=0; round<rounds; round++){
    int begin = count*round/rounds, end = count*(round+1)/rounds;
    if( begin==end ) continue;
    for(turn=0; turn<SIDES; turn++){
      side = (round+turn)%SIDES;
      micros[side] = now();
      for(i=begin; i<end; i++) closed(others[side][i]);
      micros[side] = (now()-micros[side])/(end-begin);
    }
    printf("close %.3f %.3f\n", micros[OURS], micros[STOCK]);
  }
  for(side=0; side<SIDES; side++){
    free(others[side]);
    closed(own[side]);
  }
}

int main(int argc, char **argv){
  sqlite3 *kept[SIDES];
  struct rlimit limit;
  int side, rounds;
  if( argc!=5 ) return 2;
  if( getrlimit(RLIMIT_NOFILE, &limit)==0 ){
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  rounds = atoi(argv[3]);
  for(side=0; side<SIDES; side++){
    sqlite3 *db;
    vfs[side] = argv[1+side];
    db = opened(side);
    run(db, "PRAGMA journal_mode=wal; CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)");
    closed(db);
  }
  cycle_rounds("alone", rounds);
  for(side=0; side<SIDES; side++){
    kept[side] = opened(side);
    run(kept[side], "SELECT * FROM t");
  }
  cycle_rounds("beside", rounds);
  reader_rounds(rounds, atoi(argv[4]));
  for(side=0; side<SIDES; side++) closed(kept[side]);
  return 0;
}
