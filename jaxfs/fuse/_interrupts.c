/* What pyfuse3 does not offer: which request is served, that one was interrupted, a choice among
 * those that are there, and look-ups at the same time.
 *
 * pyfuse3 reads a request by fuse_session_receive_buf() and hands it to fuse_session_process_buf().
 * This module defines these very names.  Loaded with RTLD_GLOBAL before pyfuse3, its definitions
 * are those that pyfuse3 finds.  The second looks at the request's header and passes the buffer on,
 * untouched.  The first may have been preceded by receive() below: then it reads nothing, and the
 * second one passes on the request that was chosen instead of pyfuse3's buffer.
 *
 * An unversioned definition binds to pyfuse3's fuse_session_process_buf@FUSE_3.0 too (ld.so takes
 * the base definition of a library that defines no versions).  No header of libfuse is needed:
 * struct fuse_buf is part of its ABI since 3.0 and later versions only append to it.
 *
 * pyfuse3 calls with the GIL held and from one thread, so plain statics are enough.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

enum { BUF_IS_FD = 1 << 1 }; /* FUSE_BUF_IS_FD */
enum { INIT_BYTES = sizeof(struct fuse_in_header) + offsetof(struct fuse_init_in, flags2) };

struct fuse_session;

struct fuse_buf {
    size_t size;
    int flags;
    void *mem;
    int fd;
    off_t pos;
};

typedef void process_buf(struct fuse_session *, const struct fuse_buf *);
typedef int receive_buf(struct fuse_session *, struct fuse_buf *);
typedef int session_fd(struct fuse_session *);

#define HELD "jaxfs.fuse.held"       /* name of a capsule with a request */
#define CHOSEN "jaxfs.fuse.chosen"   /* the same, once its request was passed on */

struct held { /* a request that waits for its turn */
    struct fuse_in_header header;
    struct fuse_buf buf; /* mem points behind this record */
};

static struct fuse_session *session;  /* pyfuse3's; NULL before it read its first request */
static receive_buf *real_receive;
static struct fuse_buf received;      /* what receive() read; libfuse allocates its memory once */
static const struct fuse_buf *chosen; /* what pyfuse3 gets next: `received`, one held, or NULL */
static struct held *chosen_held;      /* freed after it was passed on */
static struct fuse_in_header current; /* of the request dispatched last; zeros if unreadable */
static PyObject *on_interrupt;        /* called with the `unique` of the interrupted request */

/* libfuse's own definition, looked up from the library that called us and its dependencies:
 * that is the right one whatever file name libfuse was bundled under. */
static void *find_real(void *caller, const char *name)
{
    Dl_info info;
    void *handle, *real;

    if (!dladdr(caller, &info) || !(handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD)))
        return NULL;
    real = dlsym(handle, name);
    dlclose(handle);
    return real;
}

/* The header of a request that libfuse spliced into a pipe (writes of more than a page):
 * tee(2) duplicates it without consuming it. */
static int header_from_pipe(int fd, struct fuse_in_header *header)
{
    static int ends[2] = {-1, -1};
    const ssize_t wanted = sizeof *header;

    if (ends[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return 0;
    return tee(fd, ends[1], wanted, SPLICE_F_NONBLOCK) > 0
           && read(ends[0], header, wanted) == wanted;
}

static void call_on_interrupt(uint64_t unique)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *result = NULL;

    if (on_interrupt) {
        result = PyObject_CallFunction(on_interrupt, "K", (unsigned long long)unique);
        if (!result)
            PyErr_WriteUnraisable(on_interrupt);
    }
    Py_XDECREF(result);
    PyGILState_Release(state);
}

/* Returns the header of a request, perhaps in `spliced`; NULL if it cannot be read. */
static const struct fuse_in_header *header_of(const struct fuse_buf *buf,
                                              struct fuse_in_header *spliced)
{
    if (buf->flags & BUF_IS_FD)
        return header_from_pipe(buf->fd, spliced) ? spliced : NULL;
    return buf->size < sizeof *spliced ? NULL : buf->mem;
}

static void look(const struct fuse_buf *buf)
{
    struct fuse_in_header spliced;
    const struct fuse_in_header *header = header_of(buf, &spliced);

    if (!header)
        memset(&current, 0, sizeof current);
    else if (header->opcode != FUSE_INTERRUPT)
        current = *header;
    else if (buf->size >= sizeof *header + sizeof(struct fuse_interrupt_in))
        call_on_interrupt(((const struct fuse_interrupt_in *)(header + 1))->unique);
}

static int is_readable(int fd)
{
    struct pollfd asked = {.fd = fd, .events = POLLIN};

    return poll(&asked, 1, 0) > 0 && asked.revents & POLLIN;
}

/* The descriptor does not block: a request may be withdrawn between poll(2) and read(2), when its
 * process is killed.  pyfuse3 looks again at EINTR, and ends at EAGAIN. */
__attribute__((visibility("default"))) int
fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
    int size;

    session = se;
    if (!real_receive
        && !(real_receive = find_real(__builtin_return_address(0), "fuse_session_receive_buf")))
        Py_FatalError("jaxfs: libfuse's fuse_session_receive_buf was not found");
    if (chosen)
        return (int)chosen->size;
    size = real_receive(se, buf);
    return size == -EAGAIN ? -EINTR : size;
}

/* Sets FUSE_PARALLEL_DIROPS in the answer to FUSE_INIT, if it is offered: libfuse 3.14 wants
 * it and leaves it out.  Without it the kernel does one look-up or listing of a directory at a
 * time, in the order they came: `programs/` and `results/` would each be a queue of all users. */
static ssize_t with_parallel_dirops(char *reply, ssize_t size, const struct fuse_init_in *offer)
{
    const struct fuse_out_header *header = (const void *)reply;
    struct fuse_init_out *out = (void *)(reply + sizeof *header);
    const ssize_t least = sizeof *header + offsetof(struct fuse_init_out, max_background);

    if (size >= least && !header->error)
        out->flags |= offer->flags & FUSE_PARALLEL_DIROPS;
    return size;
}

/* libfuse writes the answer to a pipe in place of /dev/fuse, and this passes it on. */
static void process_init(process_buf *real, struct fuse_session *se, const struct fuse_buf *buf,
                         int fd)
{
    const struct fuse_in_header *header = buf->mem;
    int ends[2], saved = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    char reply[4096];
    ssize_t size;

    if (saved < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        close(saved);
        real(se, buf);
        return;
    }
    dup3(ends[1], fd, O_CLOEXEC);
    real(se, buf);
    dup3(saved, fd, O_CLOEXEC);
    size = with_parallel_dirops(reply, read(ends[0], reply, sizeof reply),
                                (const struct fuse_init_in *)(header + 1));
    if (size > 0 && write(fd, reply, size) != size)
        perror("jaxfs: FUSE_INIT was not answered");
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

/* FUSE_INTERRUPT is passed on to libfuse as well: it answers what the kernel expects, EAGAIN for a
 * request it does not know and nothing for one that it does. */
__attribute__((visibility("default"))) void
fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
    static process_buf *real;
    session_fd *fd_of;
    struct held *held = chosen_held;

    if (!real && !(real = find_real(__builtin_return_address(0), "fuse_session_process_buf")))
        Py_FatalError("jaxfs: libfuse's fuse_session_process_buf was not found");
    if (chosen)
        buf = chosen;
    chosen = NULL, chosen_held = NULL;
    look(buf);
    if (current.opcode == FUSE_INIT && buf->size >= INIT_BYTES
        && (fd_of = find_real(__builtin_return_address(0), "fuse_session_fd")))
        process_init(real, se, buf, fd_of(se));
    else
        real(se, buf); /* pyfuse3 copies what its handlers need */
    PyMem_RawFree(held);
}

/* Errors are left to pyfuse3, which meets them again. */
static PyObject *receive(PyObject *self, PyObject *descriptor)
{
    int fd = PyLong_AsLong(descriptor), size;

    if (fd == -1 && PyErr_Occurred())
        return NULL;
    if (!is_readable(fd))
        return PyLong_FromLong(0);
    if (!session || chosen)
        return PyLong_FromLong(-1); /* pyfuse3 reads its first request itself */
    size = real_receive(session, &received);
    if (size == -EAGAIN || size == -EINTR)
        return PyLong_FromLong(0);
    if (size <= 0)
        return PyLong_FromLong(-1);
    received.size = size;
    chosen = &received;
    return PyLong_FromLong(is_readable(fd) ? 2 : 1);
}

static void free_held(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, HELD))
        PyMem_RawFree(PyCapsule_GetPointer(capsule, HELD));
}

/* Copies what receive() read, out of a pipe too: libfuse has one pipe for each thread. */
static int copy_received(char *place)
{
    size_t copied = 0;

    if (!(received.flags & BUF_IS_FD)) {
        memcpy(place, received.mem, received.size);
        return 1;
    }
    while (copied < received.size) {
        ssize_t now = read(received.fd, place + copied, received.size - copied);
        if (now <= 0)
            return 0;
        copied += now;
    }
    return 1;
}

static PyObject *hold(PyObject *self, PyObject *unused)
{
    struct held *held;
    const struct fuse_in_header *header;
    PyObject *capsule;

    if (chosen != &received) {
        PyErr_SetString(PyExc_RuntimeError, "no request was received");
        return NULL;
    }
    if (!(held = PyMem_RawMalloc(sizeof *held + received.size)))
        return PyErr_NoMemory();
    header = header_of(&received, &held->header);
    if (!header || !copy_received((char *)(held + 1))) {
        PyMem_RawFree(held);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    held->header = *header;
    held->buf = (struct fuse_buf){.size = received.size, .mem = held + 1, .fd = -1};
    if (!(capsule = PyCapsule_New(held, HELD, free_held))) {
        PyMem_RawFree(held);
        return NULL;
    }
    chosen = NULL;
    return Py_BuildValue("(IInN)", held->header.opcode, held->header.uid,
                         (Py_ssize_t)received.size, capsule);
}

static PyObject *choose(PyObject *self, PyObject *capsule)
{
    struct held *held = PyCapsule_GetPointer(capsule, HELD);

    if (!held || chosen || PyCapsule_SetName(capsule, CHOSEN) < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "a request is chosen already");
        return NULL;
    }
    chosen_held = held;
    chosen = &held->buf;
    Py_RETURN_NONE;
}

static PyObject *get_current(PyObject *self, PyObject *unused)
{
    return Py_BuildValue("(KIIII)", (unsigned long long)current.unique, current.opcode,
                         current.pid, current.uid, current.gid);
}

static PyObject *set_on_interrupt(PyObject *self, PyObject *callback)
{
    Py_INCREF(callback);
    Py_XSETREF(on_interrupt, callback);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"current", get_current, METH_NOARGS,
     "Returns (unique, opcode, pid, uid, gid) of the request dispatched last; 0 if unknown."},
    {"set_on_interrupt", set_on_interrupt, METH_O,
     "Has a callable called with the unique of every request that the kernel interrupts."},
    {"receive", receive, METH_O,
     "Reads a request that is there and chooses it: returns 0 if there is none, 2 if there are\n"
     "more, else 1.  -1: pyfuse3 has to read it, or to meet the error."},
    {"hold", hold, METH_NOARGS,
     "Keeps what receive() read: returns (opcode, uid, bytes, request)."},
    {"choose", choose, METH_O, "Makes a request that is kept the next one that pyfuse3 gets."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "jaxfs.fuse._interrupts",
    .m_doc = "Looks at every FUSE request before libfuse does; see jaxfs.fuse.interrupts.",
    .m_size = -1, /* one FUSE session a process, so one state a process */
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__interrupts(void)
{
    return PyModule_Create(&module);
}
