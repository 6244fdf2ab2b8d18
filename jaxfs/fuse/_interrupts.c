/* What pyfuse3 does not offer: which request is served, and that one was interrupted.
 *
 * libfuse reads a request from the kernel and pyfuse3 hands it to fuse_session_process_buf().
 * This module defines that very name.  Loaded with RTLD_GLOBAL before pyfuse3, its definition is
 * the one pyfuse3 finds: it looks at the request's header and passes the buffer on, untouched.
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
#include <fcntl.h>
#include <linux/fuse.h>
#include <unistd.h>

enum { BUF_IS_FD = 1 << 1 }; /* FUSE_BUF_IS_FD */

struct fuse_session;

struct fuse_buf {
    size_t size;
    int flags;
    void *mem;
    int fd;
    off_t pos;
};

typedef void process_buf(struct fuse_session *, const struct fuse_buf *);

static struct fuse_in_header current; /* of the request dispatched last; zeros if unreadable */
static PyObject *on_interrupt;        /* called with the `unique` of the interrupted request */

/* libfuse's own definition, looked up from the library that called us and its dependencies:
 * that is the right one whatever file name libfuse was bundled under. */
static process_buf *find_real(void *caller)
{
    Dl_info info;
    void *handle, *real;

    if (!dladdr(caller, &info) || !(handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD)))
        return NULL;
    real = dlsym(handle, "fuse_session_process_buf");
    dlclose(handle);
    return (process_buf *)real;
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

static void look(const struct fuse_buf *buf)
{
    const struct fuse_in_header *header = buf->mem;
    struct fuse_in_header spliced;

    if (buf->flags & BUF_IS_FD)
        header = header_from_pipe(buf->fd, &spliced) ? &spliced : NULL;
    else if (buf->size < sizeof *header)
        header = NULL;

    if (!header)
        memset(&current, 0, sizeof current);
    else if (header->opcode != FUSE_INTERRUPT)
        current = *header;
    else if (buf->size >= sizeof *header + sizeof(struct fuse_interrupt_in))
        call_on_interrupt(((const struct fuse_interrupt_in *)(header + 1))->unique);
}

/* FUSE_INTERRUPT is passed on to libfuse as well: it answers what the kernel expects, EAGAIN for a
 * request it does not know and nothing for one that it does. */
__attribute__((visibility("default"))) void
fuse_session_process_buf(struct fuse_session *session, const struct fuse_buf *buf)
{
    static process_buf *real;

    if (!real && !(real = find_real(__builtin_return_address(0))))
        Py_FatalError("jaxfs: libfuse's fuse_session_process_buf was not found");
    look(buf);
    real(session, buf);
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
