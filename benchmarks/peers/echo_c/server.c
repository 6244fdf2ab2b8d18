/* The C floor: an echo filesystem on libfuse's low-level interface, one thread.
 *
 * usage: server DIR
 *
 * One file, `call`; each open file is a conversation, as with a program's call.raw: reads give
 * back what was written.  What a call costs here is the kernel, libfuse and two copies.
 * Prints "ready" when DIR is mounted; SIGTERM or an unmount ends it.
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CALL = FUSE_ROOT_ID + 1 };
static const double CACHE_S = 1000.0; /* names and attributes never change */

/* What was written to one open file; read from `begin` on. */
struct conversation {
    char *data;
    size_t begin, end, capacity;
};

static struct conversation *conversation_of(const struct fuse_file_info *file)
{
    return (struct conversation *)(uintptr_t)file->fh;
}

static int has_room(struct conversation *talk, size_t size)
{
    if (talk->end + size <= talk->capacity)
        return 1;
    size_t capacity = 2 * (talk->end + size);
    char *data = realloc(talk->data, capacity);
    if (data == NULL)
        return 0;
    talk->data = data;
    talk->capacity = capacity;
    return 1;
}

static struct stat attributes(fuse_ino_t inode)
{
    struct stat found = {.st_ino = inode, .st_nlink = 1};
    found.st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0666;
    return found;
}

static void echo_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    if (parent != FUSE_ROOT_ID || strcmp(name, "call") != 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    struct fuse_entry_param entry = {
        .ino = CALL,
        .attr = attributes(CALL),
        .attr_timeout = CACHE_S,
        .entry_timeout = CACHE_S,
    };
    fuse_reply_entry(request, &entry);
}

static void echo_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)file;
    struct stat found = attributes(inode);
    fuse_reply_attr(request, &found, CACHE_S);
}

static void echo_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    struct conversation *talk = inode == CALL ? calloc(1, sizeof *talk) : NULL;
    if (talk == NULL) {
        fuse_reply_err(request, inode == CALL ? ENOMEM : EISDIR);
        return;
    }
    file->fh = (uintptr_t)talk;
    file->direct_io = 1;
    fuse_reply_open(request, file);
}

static void echo_write(fuse_req_t request, fuse_ino_t inode, const char *data, size_t size,
                       off_t offset, struct fuse_file_info *file)
{
    (void)inode, (void)offset;
    struct conversation *talk = conversation_of(file);
    if (!has_room(talk, size)) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    memcpy(talk->data + talk->end, data, size);
    talk->end += size;
    fuse_reply_write(request, size);
}

static void echo_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                      struct fuse_file_info *file)
{
    (void)inode, (void)offset;
    struct conversation *talk = conversation_of(file);
    size_t left = talk->end - talk->begin;
    size_t given = size < left ? size : left;
    fuse_reply_buf(request, talk->data + talk->begin, given);
    talk->begin += given;
    if (talk->begin == talk->end)
        talk->begin = talk->end = 0;
}

static void echo_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode, (void)file;
    fuse_reply_err(request, 0);
}

static void echo_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode;
    struct conversation *talk = conversation_of(file);
    free(talk->data);
    free(talk);
    fuse_reply_err(request, 0);
}

static const struct fuse_lowlevel_ops OPERATIONS = {
    .lookup = echo_lookup,
    .getattr = echo_getattr,
    .open = echo_open,
    .write = echo_write,
    .read = echo_read,
    .flush = echo_flush,
    .release = echo_release,
};

static int serve(struct fuse_session *session, const char *mountpoint)
{
    if (fuse_set_signal_handlers(session) != 0)
        return 1;
    int failed = fuse_session_mount(session, mountpoint) != 0;
    if (!failed) {
        puts("ready");
        fflush(stdout);
        failed = fuse_session_loop(session) < 0;
        fuse_session_unmount(session);
    }
    fuse_remove_signal_handlers(session);
    return failed;
}

int main(int count, char **words)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s DIR\n", words[0]);
        return 2;
    }
    char *options[] = {words[0], "-o", "fsname=echo,default_permissions", NULL};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
    struct fuse_session *session =
        fuse_session_new(&arguments, &OPERATIONS, sizeof OPERATIONS, NULL);
    if (session == NULL)
        return 1;
    int failed = serve(session, words[1]);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    return failed;
}
