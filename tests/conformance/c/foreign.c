/*
** A stand-in for the VFS under test: the unix VFS of a second copy of SQLite in the process, CONFORMANCE_FOREIGN.
** Correct, and unlike a shim it shares no variable with the program's own SQLite. What fails with it is a fault of
** the harness, or a check that no VFS but the built-in one can pass.
*/
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "sqlite3ext.h"
SQLITE_EXTENSION_INIT1

static sqlite3_vfs copy;
static int their_size;
static const sqlite3_io_methods *theirs[8];
static sqlite3_io_methods mine[8];
static void (*their_free)(void*);

/* Behind each file stands its own table; `pMethods` may be that of a layer above. */
static const sqlite3_io_methods **methods_of(sqlite3_file *file){
  return (const sqlite3_io_methods**)((char*)file + their_size);
}

static int control(sqlite3_file *file, int op, void *argument){
  int rc = (*methods_of(file))->xFileControl(file, op, argument);
  if( rc==SQLITE_OK && (op==SQLITE_FCNTL_VFSNAME || op==SQLITE_FCNTL_TEMPFILENAME) ){
    /* The caller frees it, with another library's allocator. */
    char *text = *(char**)argument;
    *(char**)argument = sqlite3_mprintf("%s", text);
    their_free(text);
  }
  return rc;
}

/* Their open picks one of a few constant method tables; ours are copies with another xFileControl. */
static int (*their_open)(sqlite3_vfs*, const char*, sqlite3_file*, int, int*);
static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out){
  int i = 0, rc = their_open(vfs, name, file, flags, out);
  if( rc!=SQLITE_OK || file->pMethods==0 ) return rc;
  while( i<7 && theirs[i] && theirs[i]!=file->pMethods ) i++;
  if( theirs[i]==0 ){
    mine[i] = *file->pMethods;
    mine[i].xFileControl = control;
    theirs[i] = file->pMethods;
  }
  *methods_of(file) = theirs[i];
  file->pMethods = &mine[i];
  return rc;
}

int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api){
  const char *path = getenv("CONFORMANCE_FOREIGN"), *name = getenv("CONFORMANCE_VFS");
  void *so = path ? dlopen(path, RTLD_NOW|RTLD_LOCAL|RTLD_DEEPBIND) : 0;
  sqlite3_vfs *(*find)(const char*) = so ? (sqlite3_vfs*(*)(const char*))dlsym(so, "sqlite3_vfs_find") : 0;
  sqlite3_vfs *found;
  char *inject;
  (void)db; (void)error;
  SQLITE_EXTENSION_INIT2(api);
  if( find==0 || name==0 ) return SQLITE_ERROR;
  their_free = (void(*)(void*))dlsym(so, "sqlite3_free");
  if( copy.xOpen==0 ){
    /* The second copy has the stub as well, and is to stay plain SQLite; programs that we start are not. */
    inject = strdup(getenv("CONFORMANCE_INJECT"));
    unsetenv("CONFORMANCE_INJECT");
    found = find("unix");
    setenv("CONFORMANCE_INJECT", inject, 1);
    free(inject);
    if( found==0 ) return SQLITE_ERROR;
    copy = *found;
    copy.zName = strdup(name);
    their_size = (found->szOsFile + 7) & ~7;
    copy.szOsFile = their_size + sizeof(void*);
    their_open = copy.xOpen;
    copy.xOpen = open_file;
  }
  return sqlite3_vfs_register(&copy, 0)==SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : SQLITE_ERROR;
}
