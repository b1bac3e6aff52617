/* LD_PRELOAD: whoever opens a folder called `checkpoints` makes the file LOOK_BEGAN, and waits until the file LOOK_GOES_ON is there. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

DIR *opendir(const char *path) {
    DIR *(*next)(const char *) = dlsym(RTLD_NEXT, "opendir");
    const char *name = strrchr(path, '/');
    if (name && !strcmp(name, "/checkpoints")) {
        close(open(getenv("LOOK_BEGAN"), O_CREAT | O_WRONLY, 0644));
        for (int i = 0; i < 6000 && access(getenv("LOOK_GOES_ON"), F_OK); i++) usleep(5000);
    }
    return next(path);
}
