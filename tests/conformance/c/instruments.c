/*
** The Tcl suite looks at variables that only os_unix.c keeps when it is built for tests: a clock that can be set,
** how many syncs were made, how many files are open. A VFS from outside cannot know them, so they are added around
** it here. What os_unix.c does besides, to simulate failing system calls, is left out: tcl_files.py excludes what
** needs it.
*/
#include <pthread.h>
#include <string.h>
#include "inject.h"
SQLITE_EXTENSION_INIT3

static int *faked_time, *syncs, *full_syncs, *open_files;
static sqlite3_vfs before; /* the methods of the VFS, and the size of its files */

/* A method table for each that the VFS has, the same but for xSync and xClose. */
static struct { const sqlite3_io_methods *theirs; sqlite3_io_methods ours; } tables[8];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Behind each file of the VFS stands whether its next sync is to sync the directory too. */
static char *new_journal(sqlite3_file *file){
  return (char*)file + before.szOsFile;
}

static const sqlite3_io_methods *theirs(sqlite3_file *file){
  int i = 0;
  while( file->pMethods!=&tables[i].ours ) i++;
  return tables[i].theirs;
}

static int sync_file(sqlite3_file *file, int flags){
  *syncs += 1 + *new_journal(file);
  *full_syncs += (flags & 0x0f)==SQLITE_SYNC_FULL;
  *new_journal(file) = 0;
  return theirs(file)->xSync(file, flags);
}

static int close_file(sqlite3_file *file){
  __atomic_sub_fetch(open_files, 1, __ATOMIC_RELAXED);
  return theirs(file)->xClose(file);
}

static const sqlite3_io_methods *instrumented(const sqlite3_io_methods *methods){
  int i = 0;
  pthread_mutex_lock(&mutex);
  while( tables[i].theirs && tables[i].theirs!=methods ) i++;
  if( tables[i].theirs==0 ){
    tables[i].ours = *methods;
    tables[i].ours.xSync = sync_file;
    tables[i].ours.xClose = close_file;
    tables[i].theirs = methods;
  }
  pthread_mutex_unlock(&mutex);
  return &tables[i].ours;
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out){
  int journal = SQLITE_OPEN_MAIN_JOURNAL|SQLITE_OPEN_SUPER_JOURNAL|SQLITE_OPEN_WAL;
  int rc = before.xOpen(vfs, name, file, flags, out);
  if( rc!=SQLITE_OK || file->pMethods==0 ) return rc;
  *new_journal(file) = (flags & SQLITE_OPEN_CREATE) && (flags & journal);
  file->pMethods = instrumented(file->pMethods);
  __atomic_add_fetch(open_files, 1, __ATOMIC_RELAXED);
  return rc;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync_directory){
  int rc = before.xDelete(vfs, name, sync_directory);
  *syncs += rc==SQLITE_OK && sync_directory;
  return rc;
}

static int time_int64(sqlite3_vfs *vfs, sqlite3_int64 *now){
  if( *faked_time==0 ) return before.xCurrentTimeInt64(vfs, now);
  *now = (sqlite3_int64)*faked_time*1000 + 24405875*(sqlite3_int64)8640000;
  return SQLITE_OK;
}

static int time_double(sqlite3_vfs *vfs, double *now){
  sqlite3_int64 exact = 0;
  int rc = time_int64(vfs, &exact);
  *now = exact/86400000.0;
  return rc;
}

void conformance_instruments(sqlite3_vfs *vfs, int **instruments){
  if( before.xOpen ) return; /* once a process, however often SQLite is shut down and initialised */
  faked_time = instruments[0];
  syncs = instruments[1];
  full_syncs = instruments[2];
  open_files = instruments[3];
  before = *vfs;
  vfs->szOsFile = before.szOsFile + 8;
  vfs->xOpen = open_file;
  vfs->xDelete = delete_file;
  if( vfs->iVersion>=2 ) vfs->xCurrentTimeInt64 = time_int64;
  vfs->xCurrentTime = time_double;
}
