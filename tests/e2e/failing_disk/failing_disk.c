// A disk that fails. Loaded by LD_PRELOAD into a process, it makes what writes to files below the
// directory LARDER_FAILING_DISK end with EIO while there is a file LARDER_FAILING_FLAG, and leaves
// everything else alone. The flag's first letter says what: `s` fsync and fdatasync alone, anything
// else the writes, too. What ends so has not happened; the file is as it was.
// Thread safety: any function, any thread. Nothing is allocated.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

// Nothing that this file defines is called here: the flag is looked at by other calls.
static int fails(int fd, int sync) {
  const char* const below = getenv("LARDER_FAILING_DISK");
  const char* const flag = getenv("LARDER_FAILING_FLAG");
  if (below == NULL || flag == NULL) return 0;
  const int error = errno;
  const int open_flag = open(flag, O_RDONLY | O_CLOEXEC);
  int hit = open_flag >= 0;
  if (hit) {
    char mode = 0;
    if (read(open_flag, &mode, 1) == 1 && mode == 's') hit = sync;
    close(open_flag);
  }
  if (hit) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t size = readlink(link, path, sizeof(path) - 1);
    const size_t length = strlen(below);
    hit = size > (ssize_t)length && strncmp(path, below, length) == 0 && path[length] == '/';
  }
  errno = hit ? EIO : error;
  return hit;
}

// A pointer to an object is none to a function: copied, so that no compiler has to like a cast.
#define NEXT(type, name)                        \
  static type next;                             \
  if (next == NULL) {                           \
    void* const found = dlsym(RTLD_NEXT, name); \
    memcpy(&next, &found, sizeof(next));        \
  }

int fsync(int fd) {
  typedef int (*Fsync)(int);
  NEXT(Fsync, "fsync")
  return fails(fd, 1) ? -1 : next(fd);
}

int fdatasync(int fd) {
  typedef int (*Fdatasync)(int);
  NEXT(Fdatasync, "fdatasync")
  return fails(fd, 1) ? -1 : next(fd);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  typedef ssize_t (*Write)(int, const void*, size_t);
  NEXT(Write, "write")
  return fails(fd, 0) ? -1 : next(fd, bytes, size);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  typedef ssize_t (*Pwrite)(int, const void*, size_t, off_t);
  NEXT(Pwrite, "pwrite")
  return fails(fd, 0) ? -1 : next(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  typedef ssize_t (*Pwrite64)(int, const void*, size_t, off64_t);
  NEXT(Pwrite64, "pwrite64")
  return fails(fd, 0) ? -1 : next(fd, bytes, size, at);
}
