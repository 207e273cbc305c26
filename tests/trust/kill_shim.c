/* Preloaded into a writer by test_kill.py: logs each call that changes files under one folder, and kills the process
 * before the call with a chosen number, or in the middle of it where that is a write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static long count, kill_at;
static int log_file = -1, kill_half, refuse_exchange;

void shim_arm(const char *folder, int log, long at, int half, int no_exchange) {
    strncpy(root, folder, sizeof root - 1);
    log_file = log, kill_at = at, kill_half = half, refuse_exchange = no_exchange, count = 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts one call; returns whether it is the one to be killed in the middle. */
static int step(const char *call, int folder, const char *path, long bytes) {
    char full[2 * PATH_MAX] = "";
    if (log_file < 0) return 0;
    if (!path || path[0] != '/') {
        char link[64];
        if (folder == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, full, PATH_MAX);
        if (length < 0) return 0;
        full[length] = 0;
        if (path) strcat(strcat(full, "/"), path);
    } else strcpy(full, path);
    if (strncmp(full, root, strlen(root))) return 0;
    dprintf(log_file, "%s\t%s\t%ld\n", call, full, bytes);
    if (++count != kill_at) return 0;
    if (!kill_half) die();
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_PATH(name, parameters, arguments, folder, path) \
    int name parameters { step(#name, folder, path, 0); return REAL(name) arguments; }
#define ON_FILE(name, parameters, arguments) \
    int name parameters { step(#name, fd, NULL, 0); return REAL(name) arguments; }
#define OPEN(name, first, folder, ...) \
    int name(first const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (flags & (O_CREAT | O_TRUNC)) step("open", folder, path, 0); \
        return REAL(name)(__VA_ARGS__, flags, mode); \
    }
#define COMMA ,

OPEN(open, , AT_FDCWD, path)
OPEN(open64, , AT_FDCWD, path)
OPEN(openat, int fd COMMA, fd, fd, path)
OPEN(openat64, int fd COMMA, fd, fd, path)
ON_FILE(fsync, (int fd), (fd))
ON_FILE(fdatasync, (int fd), (fd))
ON_FILE(ftruncate, (int fd, off_t size), (fd, size))
ON_FILE(ftruncate64, (int fd, off64_t size), (fd, size))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ON_PATH(mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), fd, path)
ON_PATH(unlink, (const char *path), (path), AT_FDCWD, path)
ON_PATH(unlinkat, (int fd, const char *path, int flags), (fd, path, flags), fd, path)
ON_PATH(rmdir, (const char *path), (path), AT_FDCWD, path)
ON_PATH(rename, (const char *path, const char *to), (path, to), AT_FDCWD, path)
ON_PATH(renameat, (int fd, const char *path, int fd2, const char *to), (fd, path, fd2, to), fd, path)

int renameat2(int fd, const char *path, int fd2, const char *to, unsigned flags) {
    step("renameat2", fd, path, 0);
    if (refuse_exchange) return errno = EINVAL, -1;
    return REAL(renameat2)(fd, path, fd2, to, flags);
}

#define WRITE(name, offset_parameter, offset) \
    ssize_t name(int fd, const void *data, size_t size offset_parameter) { \
        if (step("write", fd, NULL, size)) REAL(name)(fd, data, size / 2 offset), die(); \
        return REAL(name)(fd, data, size offset); \
    }
WRITE(write, , )
WRITE(pwrite, COMMA off_t at, COMMA at)
WRITE(pwrite64, COMMA off64_t at, COMMA at)

ssize_t writev(int fd, const struct iovec *parts, int number) {
    long size = 0;
    for (int i = 0; i < number; i++) size += parts[i].iov_len;
    if (step("write", fd, NULL, size)) REAL(writev)(fd, parts, 1), die();
    return REAL(writev)(fd, parts, number);
}
