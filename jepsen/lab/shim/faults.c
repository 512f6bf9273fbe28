/* Faults of file accesses, preloaded into a node's process (LD_PRELOAD). The harness changes the control page while
   the process runs, through the file that CHAOS_SHIM names. The layout is that of shim.rs: each field is an int of
   32 bits, then the text that a path must contain. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int sync_error;   /* errno of fsync and fdatasync, 0: none */
    volatile int read_error;   /* errno of pread, 0: none */
    volatile int read_every;   /* one of so many reads fails */
    volatile int sync_delay;   /* microseconds before each sync */
    volatile int syncs_hit;    /* syncs that failed or waited */
    volatile int reads_hit;    /* reads that failed */
    volatile int reads_seen;   /* reads of files whose path contains `match` */
    volatile char match[100];
};

static struct control none, *page = &none;

__attribute__((constructor)) static void open_page(void) {
    const char *path = getenv("CHAOS_SHIM");
    int fd = path ? open(path, O_RDWR) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) page = at;
    close(fd);
}

static int matches(int fd) {
    char link[64], path[PATH_MAX];
    if (!page->match[0]) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, (const char *)page->match) != NULL;
}

static int sync_fails(void) {
    if (page->sync_delay) {
        struct timespec wait = {page->sync_delay / 1000000, page->sync_delay % 1000000 * 1000L};
        __sync_add_and_fetch(&page->syncs_hit, 1);
        nanosleep(&wait, NULL);
    }
    if (!page->sync_error) return 0;
    __sync_add_and_fetch(&page->syncs_hit, 1);
    errno = page->sync_error;
    return 1;
}

static int read_fails(int fd) {
    if (!page->read_error || !matches(fd)) return 0;
    int seen = __sync_add_and_fetch(&page->reads_seen, 1);
    if (page->read_every > 1 && seen % page->read_every) return 0;
    __sync_add_and_fetch(&page->reads_hit, 1);
    errno = page->read_error;
    return 1;
}

#define SYNC(name)                                                     \
    int name(int fd) {                                                 \
        static int (*real)(int);                                       \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);       \
        return sync_fails() ? -1 : real(fd);                           \
    }
SYNC(fsync)
SYNC(fdatasync)

#define READ(name, offset_type)                                                                          \
    ssize_t name(int fd, void *buffer, size_t count, offset_type offset) {                               \
        static ssize_t (*real)(int, void *, size_t, offset_type);                                        \
        if (!real) real = (ssize_t (*)(int, void *, size_t, offset_type))dlsym(RTLD_NEXT, #name);        \
        return read_fails(fd) ? -1 : real(fd, buffer, count, offset);                                    \
    }
READ(pread, off_t)
READ(pread64, off64_t)
