/* The softmax of attention scores on bfloat16, in one pass over memory, with AVX-512.

   torch adds a mask first, and takes four times as long on rows that are no whole vectors. Sums and
   exponentials are float32.

   One call runs on one thread, without the interpreter's lock. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_KERNEL 1
#include <immintrin.h>
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
#else
#define HAS_KERNEL 0
#endif

#if HAS_KERNEL

typedef uint16_t bfloat16;
/* LENGTH_LIMIT: scores of a row that are kept while it is summed. */
enum { LANES = 16, LENGTH_LIMIT = 256 };

/* Lanes of the vector that begins at `at` of a row of `length`. */
AVX512 static inline __mmask16 lanes(Py_ssize_t at, Py_ssize_t length)
{
    return length - at >= LANES ? 0xffff : (__mmask16)((1u << (length - at)) - 1);
}

AVX512 static inline __m512 widen(__m256i narrow)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
AVX512 static inline __m256i narrow(__m512 wide)
{
    __m512i bits = _mm512_castps_si512(wide);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __mmask16 is_nan = _mm512_cmp_ps_mask(wide, wide, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc0)));
}

AVX512 static inline __m512 load(__mmask16 mask, const bfloat16 *at)
{
    return widen(_mm256_maskz_loadu_epi16(mask, at));
}

AVX512 static inline void store(__mmask16 mask, bfloat16 *at, __m512 value)
{
    _mm256_mask_storeu_epi16(at, mask, narrow(value));
}

/* e^x to about 2e-7 of itself, and 1e-7 |x| where x is large: 2^n times a polynomial on half a unit
   to either side. */
AVX512 static inline __m512 exponential(__m512 x)
{
    __m512 y = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896f));
    /* What is beyond does not differ from zero or infinity; NaN must pass. */
    y = _mm512_min_ps(_mm512_set1_ps(129.0f), _mm512_max_ps(_mm512_set1_ps(-160.0f), y));
    __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(y, n);
    __m512 p = _mm512_set1_ps(1.54035304e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.33335581e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61812911e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55041087e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226507e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147181e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* scores = softmax(scaling scores) of each row over its position and those before it, zero beyond;
   rows go through the positions 0 ... length - 1 again and again. Scaling, above zero, comes after
   the subtraction: the largest score is then exactly zero, whatever its size. */
AVX512 static void causal_softmax(
    bfloat16 *scores, float scaling, Py_ssize_t rows, Py_ssize_t length)
{
    __m512 factor = _mm512_set1_ps(scaling);
    for (Py_ssize_t row = 0; row < rows; row++, scores += length) {
        Py_ssize_t seen = row % length + 1;
        __m512 most = _mm512_set1_ps(-INFINITY);
        for (Py_ssize_t at = 0; at < seen; at += LANES) {
            __mmask16 mask = lanes(at, seen);
            most = _mm512_mask_max_ps(most, mask, most, load(mask, scores + at));
        }
        __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
        float values[LENGTH_LIMIT];
        __m512 sum = _mm512_setzero_ps();
        for (Py_ssize_t at = 0; at < seen; at += LANES) {
            __mmask16 mask = lanes(at, seen);
            __m512 value = exponential(
                _mm512_mul_ps(_mm512_sub_ps(load(mask, scores + at), largest), factor));
            _mm512_mask_storeu_ps(values + at, mask, value);
            sum = _mm512_mask_add_ps(sum, mask, sum, value);
        }
        __m512 share = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
        for (Py_ssize_t at = 0; at < length; at += LANES) {
            __mmask16 mask = seen > at ? lanes(at, seen) : 0;
            __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values + at), share);
            store(lanes(at, length), scores + at, _mm512_maskz_mov_ps(mask, value));
        }
    }
}

#endif /* HAS_KERNEL */

static PyObject *is_supported(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
#if HAS_KERNEL
    __builtin_cpu_init();
    return PyBool_FromLong(
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"));
#else
    return PyBool_FromLong(0);
#endif
}

#if HAS_KERNEL

static PyObject *call_causal_softmax(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long scores;
    float scaling;
    Py_ssize_t rows, length;
    if (!PyArg_ParseTuple(args, "Kfnn", &scores, &scaling, &rows, &length))
        return NULL;
    if (length > LENGTH_LIMIT) {
        PyErr_Format(PyExc_ValueError, "rows of %zd scores, at most %d", length, LENGTH_LIMIT);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    causal_softmax((bfloat16 *)(uintptr_t)scores, scaling, rows, length);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

#endif /* HAS_KERNEL */

static PyMethodDef METHODS[] = {
    {"is_supported", is_supported, METH_NOARGS, "Whether this processor can run the other."},
#if HAS_KERNEL
    {"causal_softmax", call_causal_softmax, METH_VARARGS,
     "(scores, scaling, rows, length): softmax of each row over its position and those before it."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_causal_softmax", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__causal_softmax(void)
{
    return PyModule_Create(&MODULE);
}
