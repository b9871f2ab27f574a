/*
** Appended to the amalgamation and named by SQLITE_EXTRA_INIT, so that it runs at the end of every
** sqlite3_initialize(), also after a shutdown, which makes "unix" the default again. It is all that the builds of
** SQLite know about the harness: the rest is in a shared object of its own, and changes without building them anew.
** Without CONFORMANCE_INJECT the library is plain SQLite.
*/
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int conformance_stub(const char *unused){
  const char *path = getenv("CONFORMANCE_INJECT");
  int (*start)(const sqlite3_api_routines*, int **);
  void *so;
#ifdef SQLITE_TEST
  /* What os_unix.c counts or fakes for the Tcl suite, and no other VFS can. */
  extern int sqlite3_current_time, sqlite3_sync_count, sqlite3_fullsync_count, sqlite3_open_file_count;
  int *instruments[] = {
    &sqlite3_current_time, &sqlite3_sync_count, &sqlite3_fullsync_count, &sqlite3_open_file_count,
  };
#else
  int **instruments = 0;
#endif
  (void)unused;
  if( path==0 || path[0]==0 ) return SQLITE_OK;
  so = dlopen(path, RTLD_NOW|RTLD_LOCAL);
  start = so ? (int (*)(const sqlite3_api_routines*, int **))dlsym(so, "conformance_start") : 0;
  if( start==0 ){
    fprintf(stderr, "conformance: %s\n", dlerror());
    return SQLITE_ERROR;
  }
  return start(&sqlite3Apis, instruments);
}
