/* The types that shared code is written in.
 *
 * A family of kernels looks at one key at a time (CLF_LANES 1: a work-item per key) or at sixteen
 * neighbouring keys at once (CLF_LANES 16: explicit vectors, for CPUs). Code over clf_real, clf_int and
 * clf_bool serves both. Inside a vector only the key index varies: batch, head and query stay scalars.
 *
 * Programs must not be built with -cl-fast-relaxed-math or -cl-finite-math-only: -INFINITY means "masked".
 */
#ifndef CLF_LANES
#define CLF_LANES 1
#endif

#if CLF_LANES == 16
typedef float16 clf_real;
typedef int16 clf_int;
typedef int16 clf_bool; /* all bits set = true, as vector comparisons answer */
#define clf_as_real(x) as_float16(x)
#define clf_as_int(x) as_int16(x)
#define CLF_LANE ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#define CLF_TRUE ((int16)(-1))
#elif CLF_LANES == 1
typedef float clf_real;
typedef int clf_int;
typedef int clf_bool;
#define clf_as_real(x) as_float(x)
#define clf_as_int(x) as_int(x)
#define CLF_LANE 0
#define CLF_TRUE 1
#else
#error CLF_LANES must be 1 or 16
#endif

/* For snippets, in which q is one number and k maybe sixteen: whole numbers to clf_real, and a value per lane from a
 * buffer, the only way to read with an index that may be a vector. */
#if CLF_LANES == 16
#define clf_to_real(x) convert_float16((clf_int)(x))
#define CLF_GATHER(name, index)                                                                                      \
    ((clf_real)((name)[((clf_int)(index)).s0], (name)[((clf_int)(index)).s1], (name)[((clf_int)(index)).s2],         \
                (name)[((clf_int)(index)).s3], (name)[((clf_int)(index)).s4], (name)[((clf_int)(index)).s5],         \
                (name)[((clf_int)(index)).s6], (name)[((clf_int)(index)).s7], (name)[((clf_int)(index)).s8],         \
                (name)[((clf_int)(index)).s9], (name)[((clf_int)(index)).sa], (name)[((clf_int)(index)).sb],         \
                (name)[((clf_int)(index)).sc], (name)[((clf_int)(index)).sd], (name)[((clf_int)(index)).se],         \
                (name)[((clf_int)(index)).sf]))
#else
#define clf_to_real(x) ((clf_real)(x))
#define CLF_GATHER(name, index) ((clf_real)(name)[index])
#endif

/* Where fma() is one instruction, say so; elsewhere it is emulated, hundreds of times slower than a*b+c,
 * which compilers fuse themselves when they can. A macro because fma() takes every vector width. */
#ifndef CLF_HAS_FMA
#define CLF_HAS_FMA 0
#endif
#if CLF_HAS_FMA
#define clf_fma(a, b, c) fma(a, b, c)
#else
#define clf_fma(a, b, c) ((a) * (b) + (c))
#endif

/* For functions that take __local pointers, and for those whose arrays must stay in registers. Out of line, one whose
 * pointer is the same in all calls may reach the array by itself, and PoCL 3.1 then makes that array static: one for
 * all groups that run at the same time. */
#define CLF_INLINE static inline __attribute__((always_inline))
