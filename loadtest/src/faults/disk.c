/* A disk that hangs: loaded into the server (LD_PRELOAD), it lets calls that would reach the files below $TANDEM_FAULT_FOLDER
 * wait for as long as the file $TANDEM_FAULT_SWITCH exists. Whichever thread asks is the one that waits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int hangs(void) {
    const char *file = getenv("TANDEM_FAULT_SWITCH");
    return file && access(file, F_OK) == 0;
}

static int is_below(const char *path) {
    const char *folder = getenv("TANDEM_FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static void wait_for_path(const char *path) {
    while (is_below(path) && hangs()) usleep(20000);
}

static void wait_for(int fd) {
    if (!hangs()) return;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    wait_for_path(path);
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int ftruncate(int fd, off_t length) { NEXT(ftruncate); wait_for(fd); return next(fd, length); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { NEXT(pread); wait_for(fd); return next(fd, to, n, at); }
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) { NEXT(pwrite); wait_for(fd); return next(fd, from, n, at); }
int fsync(int fd) { NEXT(fsync); wait_for(fd); return next(fd); }
int fdatasync(int fd) { NEXT(fdatasync); wait_for(fd); return next(fd); }
int ftruncate64(int fd, off64_t length) { NEXT(ftruncate64); wait_for(fd); return next(fd, length); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) { NEXT(pread64); wait_for(fd); return next(fd, to, n, at); }
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) { NEXT(pwrite64); wait_for(fd); return next(fd, from, n, at); }
ssize_t write(int fd, const void *from, size_t n) { NEXT(write); wait_for(fd); return next(fd, from, n); }
ssize_t writev(int fd, const struct iovec *parts, int n) { NEXT(writev); wait_for(fd); return next(fd, parts, n); }
int rename(const char *from, const char *to) { NEXT(rename); wait_for_path(to); return next(from, to); }
int unlink(const char *path) { NEXT(unlink); wait_for_path(path); return next(path); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); wait_for_path(path); return next(path, mode); }

int open(const char *path, int flags, ...) {
    NEXT(open);
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    wait_for_path(path);
    return next(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    wait_for_path(path);
    return next(path, flags, mode);
}
