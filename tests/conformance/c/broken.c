/*
** The VFS "broken": hands every call to the one below, except that one method does not do its work. A check that
** passes over it has not looked at that method.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "inject.h"
SQLITE_EXTENSION_INIT3

static enum method {
  NOTHING, LOCK, UNLOCK, RESERVED, ELSEWHERE, SHM_LOCK, SHM_MAP, SHM_UNMAP, READ, WRITE, TRUNCATE, SIZE, SYNC,
  DELETE, DELETE_SYNC, ACCESS, OPEN_FLAGS, FULL_PATHNAME, CONTROL, MOVED, PERSIST_WAL, CHARACTERISTICS, CLOSE
} broken;

static const char *const NAMES[] = {
  "nothing", "xLock", "xUnlock", "xCheckReservedLock", "lock-bytes", "xShmLock", "xShmMap", "xShmUnmap", "xRead",
  "xWrite", "xTruncate", "xFileSize", "xSync", "xDelete", "xDelete-sync", "xAccess", "xOpen-flags", "xFullPathname",
  "xFileControl", "has-moved", "persist-wal", "xDeviceCharacteristics", "xClose"
};

typedef struct File {
  sqlite3_file base;
  sqlite3_file *real;
  sqlite3_file *locks;  /* the file that is locked: another one when the lock bytes are broken */
  char *name;           /* of that other one */
  void *region[16];     /* memory of its own instead of shared memory, when xShmMap is broken */
} File;

#define REAL(f) (((File*)(f))->real)
#define LOCKS(f) (((File*)(f))->locks)
#define CALL(f, method) REAL(f)->pMethods->method

static int close_file(sqlite3_file *f){
  File *file = (File*)f;
  int i, rc = SQLITE_OK;
  if( file->locks!=file->real ){
    file->locks->pMethods->xClose(file->locks);
    free(file->locks);
    sqlite3_free_filename(file->name);
  }
  for(i=0; i<16; i++) free(file->region[i]);
  if( broken!=CLOSE ) rc = CALL(f, xClose)(REAL(f));
  return rc;
}
static int read_file(sqlite3_file *f, void *to, int n, sqlite3_int64 at){
  int rc;
  char before[512];
  int kept = n<(int)sizeof before ? n : (int)sizeof before;
  if( broken!=READ ) return CALL(f, xRead)(REAL(f), to, n, at);
  memset(before, 0x5a, sizeof before);
  rc = CALL(f, xRead)(REAL(f), to, n, at);
  if( rc==SQLITE_IOERR_SHORT_READ ) memcpy((char*)to + n - kept, before, kept); /* the tail is not zeroed */
  return rc;
}
static int write_file(sqlite3_file *f, const void *from, int n, sqlite3_int64 at){
  if( broken==WRITE && n>1 ) n--;
  return CALL(f, xWrite)(REAL(f), from, n, at);
}
static int truncate_file(sqlite3_file *f, sqlite3_int64 size){
  return broken==TRUNCATE ? SQLITE_OK : CALL(f, xTruncate)(REAL(f), size);
}
static int sync_file(sqlite3_file *f, int flags){
  return broken==SYNC ? SQLITE_OK : CALL(f, xSync)(REAL(f), flags);
}
static int file_size(sqlite3_file *f, sqlite3_int64 *size){
  int rc = CALL(f, xFileSize)(REAL(f), size);
  if( broken==SIZE && *size>0 ) *size += 4096;
  return rc;
}
static int lock(sqlite3_file *f, int level){
  return broken==LOCK ? SQLITE_OK : LOCKS(f)->pMethods->xLock(LOCKS(f), level);
}
static int unlock(sqlite3_file *f, int level){
  return broken==UNLOCK ? SQLITE_OK : LOCKS(f)->pMethods->xUnlock(LOCKS(f), level);
}
static int reserved(sqlite3_file *f, int *held){
  if( broken!=RESERVED ) return LOCKS(f)->pMethods->xCheckReservedLock(LOCKS(f), held);
  *held = 0;
  return SQLITE_OK;
}
static int control(sqlite3_file *f, int op, void *argument){
  int rc;
  if( broken==MOVED && op==SQLITE_FCNTL_HAS_MOVED ) return *(int*)argument = 0, SQLITE_OK;
  if( broken==PERSIST_WAL && op==SQLITE_FCNTL_PERSIST_WAL ) return SQLITE_NOTFOUND;
  rc = CALL(f, xFileControl)(REAL(f), op, argument);
  return broken==CONTROL && rc==SQLITE_NOTFOUND ? SQLITE_OK : rc;
}
static int sector_size(sqlite3_file *f){
  return CALL(f, xSectorSize)(REAL(f));
}
static int characteristics(sqlite3_file *f){
  int found = CALL(f, xDeviceCharacteristics)(REAL(f));
  return broken==CHARACTERISTICS ? found | SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_SAFE_APPEND : found;
}
static int shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **to){
  File *file = (File*)f;
  int rc = CALL(f, xShmMap)(REAL(f), region, size, extend, to);
  if( broken!=SHM_MAP || rc!=SQLITE_OK || *to==0 || region>=16 ) return rc;
  if( file->region[region]==0 ) file->region[region] = calloc(1, size);
  *to = file->region[region];
  return rc;
}
static int shm_lock(sqlite3_file *f, int offset, int n, int flags){
  if( broken==SHM_LOCK ) return SQLITE_OK;
  if( broken==ELSEWHERE ){
    void volatile *unused;
    int rc = LOCKS(f)->pMethods->xShmMap(LOCKS(f), 0, 32768, 1, &unused);
    return rc==SQLITE_OK ? LOCKS(f)->pMethods->xShmLock(LOCKS(f), offset, n, flags) : rc;
  }
  return CALL(f, xShmLock)(REAL(f), offset, n, flags);
}
static void shm_barrier(sqlite3_file *f){
  CALL(f, xShmBarrier)(REAL(f));
}
static int shm_unmap(sqlite3_file *f, int delete){
  if( broken==ELSEWHERE ) LOCKS(f)->pMethods->xShmUnmap(LOCKS(f), 0);
  return CALL(f, xShmUnmap)(REAL(f), broken==SHM_UNMAP ? 0 : delete);
}
static int fetch(sqlite3_file *f, sqlite3_int64 at, int n, void **to){
  return CALL(f, xFetch)(REAL(f), at, n, to);
}
static int unfetch(sqlite3_file *f, sqlite3_int64 at, void *page){
  return CALL(f, xUnfetch)(REAL(f), at, page);
}

#define METHODS(version) { version, close_file, read_file, write_file, truncate_file, sync_file, file_size, lock, \
  unlock, reserved, control, sector_size, characteristics, shm_map, shm_lock, shm_barrier, shm_unmap, fetch, unfetch }
/* A file has no more methods than the one below it: SQLite derives from that what it may do. */
static const sqlite3_io_methods methods[] = { METHODS(1), METHODS(2), METHODS(3) };

#define BELOW(vfs) ((sqlite3_vfs*)(vfs)->pAppData)

/* As if the lock bytes stood elsewhere: the locks are those of another file, which all broken ones share. */
static int lock_elsewhere(sqlite3_vfs *below, const char *name, File *file){
  int rc, out = 0, flags = SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE|SQLITE_OPEN_MAIN_DB;
  char *path = sqlite3_mprintf("%s-elsewhere", name);
  file->name = (char*)sqlite3_create_filename(path, "", "", 0, 0);
  sqlite3_free(path);
  file->locks = calloc(1, below->szOsFile);
  rc = below->xOpen(below, file->name, file->locks, flags, &out);
  if( rc!=SQLITE_OK ) fprintf(stderr, "conformance: %s: %d\n", file->name, rc);
  return rc;
}
static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out){
  sqlite3_vfs *below = BELOW(vfs);
  File *file = (File*)f;
  int rc, ignored;
  memset(file, 0, sizeof *file);
  file->real = file->locks = (sqlite3_file*)&file[1];
  rc = below->xOpen(below, name, file->real, flags, broken==OPEN_FLAGS ? &ignored : out);
  if( broken==OPEN_FLAGS && out ) *out = flags;
  if( rc!=SQLITE_OK || file->real->pMethods==0 ) return rc;
  file->base.pMethods = &methods[file->real->pMethods->iVersion>=3 ? 2 : file->real->pMethods->iVersion-1];
  if( broken==ELSEWHERE && name && (flags & SQLITE_OPEN_MAIN_DB) ) rc = lock_elsewhere(below, name, file);
  return rc;
}
static int delete_file(sqlite3_vfs *vfs, const char *name, int sync){
  if( broken==DELETE ) return SQLITE_OK;
  return BELOW(vfs)->xDelete(BELOW(vfs), name, broken==DELETE_SYNC ? 0 : sync);
}
static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *result){
  int rc = BELOW(vfs)->xAccess(BELOW(vfs), name, flags, result);
  if( broken==ACCESS ) *result = 0;
  return rc;
}
static int full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *to){
  if( broken!=FULL_PATHNAME ) return BELOW(vfs)->xFullPathname(BELOW(vfs), name, size, to);
  snprintf(to, size, "%s", name);
  return SQLITE_OK;
}
static void *dl_open(sqlite3_vfs *vfs, const char *name){
  return BELOW(vfs)->xDlOpen(BELOW(vfs), name);
}
static void dl_error(sqlite3_vfs *vfs, int size, char *to){
  BELOW(vfs)->xDlError(BELOW(vfs), size, to);
}
static void (*dl_sym(sqlite3_vfs *vfs, void *so, const char *name))(void){
  return BELOW(vfs)->xDlSym(BELOW(vfs), so, name);
}
static void dl_close(sqlite3_vfs *vfs, void *so){
  BELOW(vfs)->xDlClose(BELOW(vfs), so);
}
static int randomness(sqlite3_vfs *vfs, int size, char *to){
  return BELOW(vfs)->xRandomness(BELOW(vfs), size, to);
}
static int sleep_for(sqlite3_vfs *vfs, int us){
  return BELOW(vfs)->xSleep(BELOW(vfs), us);
}
static int current_time(sqlite3_vfs *vfs, double *now){
  return BELOW(vfs)->xCurrentTime(BELOW(vfs), now);
}
static int last_error(sqlite3_vfs *vfs, int size, char *to){
  return BELOW(vfs)->xGetLastError ? BELOW(vfs)->xGetLastError(BELOW(vfs), size, to) : 0;
}
static int current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *now){
  return BELOW(vfs)->xCurrentTimeInt64(BELOW(vfs), now);
}

sqlite3_vfs *conformance_broken(sqlite3_vfs *base, const char *method){
  static sqlite3_vfs made = { 2, 0, 0, 0, "broken", 0, open_file, delete_file, access_file, full_pathname, dl_open,
    dl_error, dl_sym, dl_close, randomness, sleep_for, current_time, last_error, current_time_int64, 0, 0, 0 };
  int i = 0, count = sizeof NAMES/sizeof *NAMES;
  while( i<count && strcmp(NAMES[i], method)!=0 ) i++;
  if( i==count || base->iVersion<2 ) return 0;
  if( made.pAppData==0 ){
    made.szOsFile = sizeof(File) + base->szOsFile;
    made.mxPathname = base->mxPathname;
    made.pAppData = base;
  }
  broken = (enum method)i;
  return &made;
}
