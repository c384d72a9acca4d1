/* send_all of fanout.py: the loop of a push, which costs what the kernel costs. Optional.
 *
 * Built against the limited API, so that one file serves every Python from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <errno.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE anyway */
#endif

#define AT_ONCE 256 /* sockets that are written to with the interpreter let go */

static ssize_t send_whole(int socket, const char *data, size_t size)
{
    ssize_t sent;
    do
        sent = send(socket, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? 0 : sent;
}

static int note_short(PyObject *result, Py_ssize_t index, ssize_t sent)
{
    PyObject *pair = Py_BuildValue("(nn)", index, (Py_ssize_t)sent);
    if (pair == NULL)
        return -1;
    int failed = PyList_Append(result, pair);
    Py_DECREF(pair);
    return failed;
}

static int send_some(PyObject *list, Py_ssize_t from, Py_ssize_t count, const char *data, Py_ssize_t size,
                     PyObject *result)
{
    int sockets[AT_ONCE];
    ssize_t sent[AT_ONCE];
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(list, from + i);
        long socket = item == NULL ? -1 : PyLong_AsLong(item);
        if (socket == -1 && PyErr_Occurred())
            return -1;
        sockets[i] = (int)socket;
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++)
        sent[i] = send_whole(sockets[i], data, (size_t)size);
    Py_END_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++)
        if (sent[i] != size && note_short(result, from + i, sent[i]) < 0)
            return -1;
    return 0;
}

static PyObject *send_all(PyObject *module, PyObject *args)
{
    PyObject *list, *bytes;
    char *data;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "OS:send_all", &list, &bytes) || PyBytes_AsStringAndSize(bytes, &data, &size) < 0)
        return NULL;
    Py_ssize_t count = PyList_Size(list);
    PyObject *result = count < 0 ? NULL : PyList_New(0);
    for (Py_ssize_t from = 0; result != NULL && from < count; from += AT_ONCE) {
        Py_ssize_t some = count - from < AT_ONCE ? count - from : AT_ONCE;
        if (send_some(list, from, some, data, size, result) < 0)
            Py_CLEAR(result);
    }
    return result;
}

static PyMethodDef methods[] = {{"send_all", send_all, METH_VARARGS, "As fanout.send_all."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fanout", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fanout(void) { return PyModuleDef_Init(&module); }
