/* The sums of a batch's products of prefix sums, in float64 with AVX-512.

   C0 += sum S_i S_i^T and C1 += sum S_i x_{i+1}^T over the positions i < length of every text. Prefix
   sums are made on the way into packed panels of columns, so neither they nor float64 copies of the
   hidden states are ever written out whole, padding costs nothing, and of C0 only tiles that touch
   the upper triangle are computed.

   A general matrix product falls short here: MKL, which torch multiplies float64 with, takes no
   AVX-512 on processors of other makers, and knows nothing of the two shared factors.

   One call runs on one thread, without the interpreter's lock; calls for different shares of the
   panels may run side by side. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_KERNEL 1
#include <immintrin.h>
#define AVX512 __attribute__((target("avx512f")))
#else
#define HAS_KERNEL 0
#endif

enum { BFLOAT16, FLOAT16, FLOAT32, FLOAT64, N_TYPES };

#if HAS_KERNEL

/* Columns of a panel, columns of S in a tile, rows packed at a time, columns of S kept in the
   second-level cache. A panel of ROWS x PANEL stays in the first-level cache. */
enum { PANEL = 24, TILE = 8, ROWS = 128, BLOCK = 192 };

typedef struct {
    const char *states; /* (texts, positions, width), contiguous */
    int type;
    const int64_t *lengths;
    Py_ssize_t texts, positions, width;
} Batch;

static const Py_ssize_t SIZES[N_TYPES] = {2, 2, 4, 8};

AVX512 static inline __m512d load8(const char *at, int type)
{
    switch (type) {
    case BFLOAT16: {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at));
        return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    case FLOAT16:
        return _mm512_cvtps_pd(
            _mm512_castps512_ps256(_mm512_cvtph_ps(
                _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)at)))));
    case FLOAT32:
        return _mm512_cvtps_pd(_mm256_loadu_ps((const float *)at));
    default:
        return _mm512_loadu_pd((const double *)at);
    }
}

/* Eight columns from `column` on of one token; zeros beyond the width. */
AVX512 static inline __m512d token8(const Batch *batch, const char *token, Py_ssize_t column)
{
    Py_ssize_t left = batch->width - column, size = SIZES[batch->type];
    if (left >= 8)
        return load8(token + column * size, batch->type);
    char rest[64] = {0};
    if (left > 0)
        memcpy(rest, token + column * size, (size_t)(left * size));
    return load8(rest, batch->type);
}

/* total = sum of each text's tokens; returns sum over texts of the squares of all tokens but the
   first. */
AVX512 static double totals(const Batch *batch, double *total)
{
    Py_ssize_t d = batch->width, size = SIZES[batch->type];
    __m512d power = _mm512_setzero_pd();
    for (Py_ssize_t text = 0; text < batch->texts; text++) {
        const char *first = batch->states + text * batch->positions * d * size;
        for (Py_ssize_t column = 0; column < d; column += 8) {
            __m512d sum = token8(batch, first, column);
            for (Py_ssize_t i = 1; i < batch->lengths[text]; i++) {
                __m512d x = token8(batch, first + i * d * size, column);
                sum = _mm512_add_pd(sum, x);
                power = _mm512_fmadd_pd(x, x, power);
            }
            Py_ssize_t left = d - column;
            __mmask8 kept = left >= 8 ? 0xff : (__mmask8)((1 << left) - 1);
            _mm512_mask_storeu_pd(total + text * d + column, kept, sum);
        }
    }
    return _mm512_reduce_add_pd(power);
}

/* C (8 x 24, rows `stride` apart) += sum over k rows of a^T b, where a is a line of 8 columns in a
   panel and b a whole panel. */
AVX512 static void tile(
    const double *a, const double *b, Py_ssize_t k, double *C, Py_ssize_t stride)
{
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define ZERO(i) __m512d l##i = _mm512_setzero_pd(), m##i = l##i, r##i = l##i;
#define STEP(i)                                                                                    \
    {                                                                                              \
        __m512d s = _mm512_set1_pd(a[i]);                                                          \
        l##i = _mm512_fmadd_pd(s, left, l##i);                                                     \
        m##i = _mm512_fmadd_pd(s, middle, m##i);                                                   \
        r##i = _mm512_fmadd_pd(s, right, r##i);                                                    \
    }
#define ADD(i)                                                                                     \
    {                                                                                              \
        double *row = C + i * stride;                                                              \
        _mm512_storeu_pd(row, _mm512_add_pd(_mm512_loadu_pd(row), l##i));                          \
        _mm512_storeu_pd(row + 8, _mm512_add_pd(_mm512_loadu_pd(row + 8), m##i));                  \
        _mm512_storeu_pd(row + 16, _mm512_add_pd(_mm512_loadu_pd(row + 16), r##i));                \
    }
#define FETCH(i)                                                                                   \
    for (Py_ssize_t at = 0; at < PANEL; at += 8)                                                   \
        _mm_prefetch((const char *)(C + i * stride + at), _MM_HINT_T0);
    EACH(FETCH) /* the sums are far away: they come while the products are made */
    EACH(ZERO)
    for (Py_ssize_t row = 0; row < k; row++, a += PANEL, b += PANEL) {
        __m512d left = _mm512_load_pd(b), middle = _mm512_load_pd(b + 8),
                right = _mm512_load_pd(b + 16);
        EACH(STEP)
    }
    EACH(ADD)
#undef EACH
#undef FETCH
#undef ZERO
#undef STEP
#undef ADD
}

/* `tile` where C has only `rows` x `columns` entries there. */
AVX512 static void edge_tile(
    const double *a, const double *b, Py_ssize_t k, double *C, Py_ssize_t stride, Py_ssize_t rows,
    Py_ssize_t columns)
{
    double whole[TILE * PANEL] = {0};
    tile(a, b, k, whole, PANEL);
    for (Py_ssize_t i = 0; i < rows; i++)
        for (Py_ssize_t j = 0; j < columns; j++)
            C[i * stride + j] += whole[i * PANEL + j];
}

/* Where column and row of a packed matrix are. */
static inline Py_ssize_t place(Py_ssize_t column, Py_ssize_t row)
{
    return column / PANEL * PANEL * ROWS + row * PANEL + column % PANEL;
}

/* Every `step`th panel of columns of the results, from `first` on. */
typedef struct {
    Py_ssize_t first, step;
} Share;

/* Adds the products of k packed rows: S^T S, of which only tiles on or above the diagonal, and S^T X
   unless X is NULL. */
AVX512 static void add_rows(
    const double *S, const double *X, Py_ssize_t k, Py_ssize_t d, Share share, double *C0,
    double *C1)
{
    Py_ssize_t panels = (d + PANEL - 1) / PANEL;
    for (Py_ssize_t start = 0; start < d; start += BLOCK) {
        Py_ssize_t end = start + BLOCK < d ? start + BLOCK : d;
        for (Py_ssize_t panel = share.first; panel < panels; panel += share.step) {
            Py_ssize_t column = panel * PANEL;
            Py_ssize_t columns = d - column < PANEL ? d - column : PANEL;
            for (int pair = 0; pair < (X ? 2 : 1); pair++) {
                const double *b = (pair ? X : S) + place(column, 0);
                double *C = pair ? C1 : C0;
                Py_ssize_t last = !pair && column + columns < end ? column + columns : end;
                for (Py_ssize_t i = start; i < last; i += TILE) {
                    const double *a = S + place(i, 0);
                    Py_ssize_t rows = d - i < TILE ? d - i : TILE;
                    double *at = C + i * d + column;
                    if (rows == TILE && columns == PANEL)
                        tile(a, b, k, at, d);
                    else
                        edge_tile(a, b, k, at, d, rows, columns);
                }
            }
        }
    }
}

/* Doubles that a call needs to work in: a row, and two packed matrices. The caller brings them, so
   that no call fails for want of memory once others have added their share. */
static Py_ssize_t scratch_length(Py_ssize_t width)
{
    return (width + PANEL - 1) / PANEL * PANEL * (1 + 2 * ROWS);
}

AVX512 static void products(
    const Batch *batch, Share share, double *C0, double *C1, double *scratch)
{
    Py_ssize_t d = batch->width, size = SIZES[batch->type];
    Py_ssize_t padded = (d + PANEL - 1) / PANEL * PANEL;
    double *sum = scratch, *S = sum + padded, *X = S + padded * ROWS;
    Py_ssize_t k = 0;
    for (Py_ssize_t text = 0; text < batch->texts; text++) {
        const char *token = batch->states + text * batch->positions * d * size;
        memset(sum, 0, sizeof(double) * (size_t)padded);
        for (Py_ssize_t i = 0; i + 1 < batch->lengths[text]; i++, token += d * size) {
            for (Py_ssize_t column = 0; column < padded; column += 8) {
                __m512d now = _mm512_add_pd(
                    _mm512_load_pd(sum + column), token8(batch, token, column));
                _mm512_store_pd(sum + column, now);
                _mm512_store_pd(S + place(column, k), now);
                _mm512_store_pd(
                    X + place(column, k), token8(batch, token + d * size, column));
            }
            if (++k == ROWS) {
                add_rows(S, X, k, d, share, C0, C1);
                k = 0;
            }
        }
    }
    if (k)
        add_rows(S, X, k, d, share, C0, C1);
}

/* C += rows^T rows, on and above the diagonal. */
AVX512 static void gram(
    const double *rows, Py_ssize_t n, Py_ssize_t d, Share share, double *C, double *packed)
{
    Py_ssize_t padded = (d + PANEL - 1) / PANEL * PANEL;
    Batch batch = {NULL, FLOAT64, NULL, 0, 0, d};
    for (Py_ssize_t start = 0; start < n; start += ROWS) {
        Py_ssize_t k = n - start < ROWS ? n - start : ROWS;
        for (Py_ssize_t row = 0; row < k; row++)
            for (Py_ssize_t column = 0; column < padded; column += 8)
                _mm512_store_pd(
                    packed + place(column, row),
                    token8(&batch, (const char *)(rows + (start + row) * d), column));
        add_rows(packed, NULL, k, d, share, C, NULL);
    }
}

#endif /* HAS_KERNEL */

static PyObject *is_supported(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
#if HAS_KERNEL
    __builtin_cpu_init();
    return PyBool_FromLong(__builtin_cpu_supports("avx512f"));
#else
    return PyBool_FromLong(0);
#endif
}

#if HAS_KERNEL

static PyObject *call_scratch_length(PyObject *self, PyObject *args)
{
    (void)self;
    Py_ssize_t width;
    if (!PyArg_ParseTuple(args, "n", &width))
        return NULL;
    return PyLong_FromSsize_t(scratch_length(width));
}

static PyObject *prefix_totals(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long states, lengths, total;
    int type;
    Py_ssize_t texts, positions, width;
    if (!PyArg_ParseTuple(
            args, "KiKnnnK", &states, &type, &lengths, &texts, &positions, &width, &total))
        return NULL;
    Batch batch = {(const char *)(uintptr_t)states, type, (const int64_t *)(uintptr_t)lengths,
                   texts, positions, width};
    double power;
    Py_BEGIN_ALLOW_THREADS
    power = totals(&batch, (double *)(uintptr_t)total);
    Py_END_ALLOW_THREADS
    return PyFloat_FromDouble(power);
}

static PyObject *add_prefix_products(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long states, lengths, C0, C1, scratch;
    int type;
    Py_ssize_t texts, positions, width;
    Share share;
    if (!PyArg_ParseTuple(
            args, "KiKnnnnnKKK", &states, &type, &lengths, &texts, &positions, &width, &share.first,
            &share.step, &C0, &C1, &scratch))
        return NULL;
    Batch batch = {(const char *)(uintptr_t)states, type, (const int64_t *)(uintptr_t)lengths,
                   texts, positions, width};
    Py_BEGIN_ALLOW_THREADS
    products(
        &batch, share, (double *)(uintptr_t)C0, (double *)(uintptr_t)C1,
        (double *)(uintptr_t)scratch);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *add_gram(PyObject *self, PyObject *args)
{
    (void)self;
    unsigned long long rows, C, scratch;
    Py_ssize_t n, width;
    Share share;
    if (!PyArg_ParseTuple(
            args, "KnnnnKK", &rows, &n, &width, &share.first, &share.step, &C, &scratch))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    gram(
        (const double *)(uintptr_t)rows, n, width, share, (double *)(uintptr_t)C,
        (double *)(uintptr_t)scratch);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

#endif /* HAS_KERNEL */

static PyMethodDef METHODS[] = {
    {"is_supported", is_supported, METH_NOARGS, "Whether this processor can run the others."},
#if HAS_KERNEL
    {"scratch_length", call_scratch_length, METH_VARARGS,
     "(width): doubles, on a multiple of 64 bytes, that each call of add_... needs to work in."},
    {"prefix_totals", prefix_totals, METH_VARARGS,
     "(states, type, lengths, texts, positions, width, total): write the sum of each text's tokens;"
     " returns the power of all tokens but the first."},
    {"add_prefix_products", add_prefix_products, METH_VARARGS,
     "(states, type, lengths, texts, positions, width, first, step, C0, C1, scratch): add the"
     " products of the batch, to the upper triangle of C0 and to all of C1, in every step-th panel"
     " of columns."},
    {"add_gram", add_gram, METH_VARARGS,
     "(rows, n, width, first, step, C, scratch): add the products of float64 rows, to the upper"
     " triangle of"
     " C, in every step-th panel of columns."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_prefix_products", NULL, -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__prefix_products(void)
{
    return PyModule_Create(&MODULE);
}
