/* The C interface of helip: stores of embeddings, mining, tables of hard pairs, indexes of pairs.
 *
 * For programs in C, and in languages that call C: Go, Rust, Java. It does what the C++ headers do
 * (helip/helip.h), and has their names; docs/embedding-in-production.md tells the rules.
 *
 * Status. Every call that can fail returns HELIP_OK or an error code; then helip_last_error() has
 * the message. What a call would have given is left as it was, and no exception leaves a call.
 *
 * Handles. What helip_x_open() and its like put into `*out` is the caller's, who gives it to
 * helip_x_free(), once; freeing NULL does nothing. Strings and matrices that a handle lends are
 * valid until it is freed. Any number of threads may use one handle at a time, but for a
 * helip_store_writer, which is for one; none may use it while it is freed.
 *
 * Structures begin with `struct_size`, which helip_x_init() sets with the defaults. New fields come
 * at the end: a program that was compiled before them gets their defaults.
 *
 * Texts are UTF-8 and end with a NUL unless a length is given. Numbers of rows, dimensions and
 * places are int64_t; a `threads` of 0 means all cores.
 */
#ifndef HELIP_H
#define HELIP_H

/* IWYU pragma: begin_exports */
#include "helip/export.h"
#include "helip/version.h"
/* IWYU pragma: end_exports */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Versions ---------------------------------------------------------------------------- */

/* Of the library that is loaded: its number, as HELIP_VERSION is that of this header, and "1.2.3".
 */
HELIP_EXPORT int32_t helip_version_number(void);
HELIP_EXPORT const char* helip_version(void);

/* ---- Status ------------------------------------------------------------------------------ */

typedef int32_t helip_status;
enum {
  HELIP_OK = 0,
  HELIP_ERROR_INVALID_ARGUMENT = 1, /* the caller passed something outside a documented bound */
  HELIP_ERROR_CORRUPT = 2,          /* bytes on disk are not what their manifest says */
  HELIP_ERROR_MISMATCH = 3,         /* two things that must belong together do not */
  HELIP_ERROR_IO = 4,               /* the operating system refused a read or a write */
  HELIP_ERROR_CANCELLED = 5,        /* the progress callback or a helip_cancel asked to stop */
  HELIP_ERROR_UNSUPPORTED = 6,      /* this build or this machine cannot do it */
  HELIP_ERROR_OUT_OF_MEMORY = 7,    /* an allocation failed */
  HELIP_ERROR_INTERNAL = 8          /* anything else: a fault of helip, or of a callback */
};

/* "ok", "invalid_argument", ...; "unknown" for another number. */
HELIP_EXPORT const char* helip_status_name(helip_status status);
/* What the last call of this thread that failed said: the value, the bound and the mend. Valid
 * until another call of this thread fails; "" where none has. */
HELIP_EXPORT const char* helip_last_error(void);
/* errno of the system call that made it fail, or 0. */
HELIP_EXPORT int32_t helip_last_errno(void);

/* Call it first, as helip_check_version(HELIP_VERSION). MISMATCH: a program that was compiled with
 * that header cannot use the library that is loaded. */
HELIP_EXPORT helip_status helip_check_version(int32_t header);

/* ---- Matrices ---------------------------------------------------------------------------- */

enum {
  HELIP_FLOAT64 = 0,
  HELIP_FLOAT32 = 1,
  HELIP_FLOAT16 = 2,
  HELIP_BFLOAT16 = 3,
  HELIP_INT8 = 4,
  HELIP_UINT8 = 5,
  HELIP_INT32 = 6,
  HELIP_INT64 = 7,
  HELIP_UINT64 = 8
};

/* Numbers that somebody else owns: (i, j) lies at data + i * row_stride + j * (bytes a number). The
 * call that gets it reads them in place, and keeps no pointer to them. This structure is fixed. */
typedef struct helip_matrix {
  const void* data;
  int64_t rows;
  int64_t cols;
  int64_t row_stride;     /* bytes; 0: row follows row */
  const float* scale;     /* [rows], of HELIP_INT8 alone: value = code * scale[row]; else NULL */
  const uint8_t* deleted; /* [rows], rows to pass over have 1; or NULL */
  int32_t dtype;          /* HELIP_FLOAT32, ... */
  int32_t reserved;       /* 0 */
} helip_matrix;

/* ---- Progress and cancellation ------------------------------------------------------------ */

/* Called in the calling thread, a few times a second. Returns 0 to go on; anything else stops the
 * call, which then returns HELIP_ERROR_CANCELLED. It must not leave by longjmp or an exception. */
typedef int32_t (*helip_progress_callback)(void* user, const char* stage, int64_t done,
                                           int64_t total);

/* A flag that stops calls from another thread or from a signal handler. */
typedef struct helip_cancel helip_cancel;
HELIP_EXPORT helip_status helip_cancel_create(helip_cancel** out);
HELIP_EXPORT void helip_cancel_free(helip_cancel* cancel);
/* Both may be called by any thread, and in a signal handler; NULL is passed over. Calls that get a
 * flag that is set end at once; those that run, within a second or so. */
HELIP_EXPORT void helip_cancel_set(helip_cancel* cancel);
HELIP_EXPORT void helip_cancel_reset(helip_cancel* cancel);

/* How to follow and stop a long call; where a call takes it, NULL does neither. */
typedef struct helip_control {
  size_t struct_size;
  helip_progress_callback progress; /* or NULL */
  void* user;                       /* what the callback gets */
  const helip_cancel* cancel;       /* or NULL; must outlive the call */
} helip_control;
HELIP_EXPORT helip_status helip_control_init(helip_control* control, size_t struct_size);

/* ---- Stores ------------------------------------------------------------------------------ */

/* Image and text embeddings of a data set on disk, mapped, with the key of every row: one
 * generation, which does not change. */
typedef struct helip_store helip_store;

typedef struct helip_store_info {
  size_t struct_size;
  int64_t rows;
  int64_t image_dim;
  int64_t text_dim;
  int64_t generation;   /* 1 for the first commit */
  int64_t deleted_rows; /* which keep their numbers */
  int32_t dtype;
  int32_t reserved;
} helip_store_info;

HELIP_EXPORT helip_status helip_store_open(const char* path, helip_store** out);
HELIP_EXPORT void helip_store_free(helip_store* store);
/* `info->struct_size` says how much of it the caller knows. */
HELIP_EXPORT helip_status helip_store_get_info(const helip_store* store, helip_store_info* info);
HELIP_EXPORT helip_status helip_store_image(const helip_store* store, helip_matrix* out);
HELIP_EXPORT helip_status helip_store_text(const helip_store* store, helip_matrix* out);
/* Of `length` bytes, without a NUL. */
HELIP_EXPORT helip_status helip_store_key(const helip_store* store, int64_t row, const char** key,
                                          size_t* length);
/* Rows that were deleted, ascending; `*count` of them. */
HELIP_EXPORT helip_status helip_store_deleted(const helip_store* store, const int64_t** rows,
                                              int64_t* count);
/* Of keys, shapes, dtypes, contents and deleted rows; a table holds that of its store. */
HELIP_EXPORT helip_status helip_store_fingerprint(const helip_store* store, const char** out);
HELIP_EXPORT helip_status helip_store_metadata(const helip_store* store, const char** json);
/* Reads every byte and compares checksums. CORRUPT at the first damage. */
HELIP_EXPORT helip_status helip_store_verify(const helip_store* store,
                                             const helip_control* control);

typedef struct helip_store_options {
  size_t struct_size;
  int64_t image_dim;  /* to be set */
  int64_t text_dim;   /* to be set */
  int64_t shard_rows; /* 262144; a multiple of 4096 */
  int32_t dtype;      /* HELIP_FLOAT32; also FLOAT16, BFLOAT16, INT8 */
  int32_t digests;    /* 0; else appends give digests of what each row was made from */
} helip_store_options;
HELIP_EXPORT helip_status helip_store_options_init(helip_store_options* options,
                                                   size_t struct_size);

/* Appends rows. One writer a directory, one thread a writer. Freed without a commit it leaves the
 * last committed generation as it was. */
typedef struct helip_store_writer helip_store_writer;

HELIP_EXPORT helip_status helip_store_writer_create(const char* path,
                                                    const helip_store_options* options,
                                                    helip_store_writer** out);
/* Goes on with a committed store; the next commit is a new generation. */
HELIP_EXPORT helip_status helip_store_writer_append_to(const char* path, helip_store_writer** out);
HELIP_EXPORT void helip_store_writer_free(helip_store_writer* writer);
/* `image` [n, image_dim], `text` [n, text_dim] of any float dtype, `keys` [n], each once.
 * `key_lengths` [n] in bytes; NULL: keys end with a NUL. Digests [n], or NULL for a store without.
 * All rows or none are taken. */
HELIP_EXPORT helip_status helip_store_writer_append(
    helip_store_writer* writer, const char* const* keys, const size_t* key_lengths,
    const helip_matrix* image, const helip_matrix* text, const uint64_t* image_digests,
    const uint64_t* caption_digests);
/* Marks rows as deleted; `*deleted` (or NULL) gets how many were not before. */
HELIP_EXPORT helip_status helip_store_writer_delete_rows(helip_store_writer* writer,
                                                         const int64_t* rows, int64_t count,
                                                         int64_t* deleted);
/* Publishes what was appended and deleted, durably. `metadata_json` NULL keeps what there is. `out`
 * (or NULL) gets the new generation. Appending may go on. */
HELIP_EXPORT helip_status helip_store_writer_commit(helip_store_writer* writer,
                                                    const char* metadata_json, helip_store** out);

/* ---- Tables of hard pairs ---------------------------------------------------------------- */

/* For each target row up to k other rows, in order of falling score. Does not change. */
typedef struct helip_pairs helip_pairs;

typedef struct helip_pairs_info {
  size_t struct_size;
  int64_t targets; /* rows of the data set */
  int64_t k;
} helip_pairs_info;

/* Maps a table; reads ids and counts once. */
HELIP_EXPORT helip_status helip_pairs_open(const char* path, const helip_control* control,
                                           helip_pairs** out);
/* Copies. `ids` int32 or int64 [n, k], -1 beyond the count; `scores` float32 [n, k], 0 beyond it;
 * `counts` int32 [n, 1]. */
HELIP_EXPORT helip_status helip_pairs_from_arrays(const helip_matrix* ids,
                                                  const helip_matrix* scores,
                                                  const helip_matrix* counts,
                                                  const helip_control* control, helip_pairs** out);
HELIP_EXPORT void helip_pairs_free(helip_pairs* pairs);
/* Writes a directory that did not exist, all or nothing. */
HELIP_EXPORT helip_status helip_pairs_save(const helip_pairs* pairs, const char* path,
                                           const helip_control* control);
/* Reads every byte, scores too. CORRUPT at the first damage. */
HELIP_EXPORT helip_status helip_pairs_verify(const helip_pairs* pairs,
                                             const helip_control* control);
HELIP_EXPORT helip_status helip_pairs_get_info(const helip_pairs* pairs, helip_pairs_info* info);
/* The pool of one target, best first: at most `capacity` pairs are copied to `ids` and `scores`,
 * each of which may be NULL; `*count` gets how many the pool has. */
HELIP_EXPORT helip_status helip_pairs_pool(const helip_pairs* pairs, int64_t target,
                                           int64_t capacity, int64_t* ids, float* scores,
                                           int64_t* count);
/* All pools: ids int32 (int64 from 2^31 targets on) [n, k], scores float32 [n, k], counts int32
 * [n, 1]. */
HELIP_EXPORT helip_status helip_pairs_ids(const helip_pairs* pairs, helip_matrix* out);
HELIP_EXPORT helip_status helip_pairs_scores(const helip_pairs* pairs, helip_matrix* out);
HELIP_EXPORT helip_status helip_pairs_counts(const helip_pairs* pairs, helip_matrix* out);
/* Of the store that was mined; "" for bare arrays. */
HELIP_EXPORT helip_status helip_pairs_fingerprint(const helip_pairs* pairs, const char** out);
/* JSON objects: the options, and what mining measured. */
HELIP_EXPORT helip_status helip_pairs_options(const helip_pairs* pairs, const char** json);
HELIP_EXPORT helip_status helip_pairs_report(const helip_pairs* pairs, const char** json);

/* ---- Mining ------------------------------------------------------------------------------ */

enum {
  HELIP_METHOD_AUTO = 0,
  HELIP_METHOD_EXACT = 1,
  HELIP_METHOD_SAMPLE = 2,
  HELIP_METHOD_HNSW = 3,
  HELIP_METHOD_PARTITION = 4
};
enum { HELIP_MODALITY_BOTH = 0, HELIP_MODALITY_IMAGE = 1, HELIP_MODALITY_TEXT = 2 };
enum {
  HELIP_COLLAPSE_NONE = 0,
  HELIP_COLLAPSE_IMAGE = 1,
  HELIP_COLLAPSE_TEXT = 2,
  HELIP_COLLAPSE_BOTH = 3
};

/* helip/mine_options.h says what each does. */
typedef struct helip_mine_options {
  size_t struct_size;
  int64_t k;               /* 100; pool size */
  int32_t method;          /* HELIP_METHOD_AUTO */
  int32_t modality;        /* HELIP_MODALITY_BOTH */
  double image_max;        /* 0.98; near-duplicate threshold of the image cosine */
  double text_max;         /* 0.98; of the text cosine */
  double min_score;        /* 0; a score must exceed it */
  int32_t signed_products; /* 0; else no clamp at zero */
  int32_t use_margin;      /* 0; else false negatives within `margin` are dropped */
  double margin;           /* 0 */
  int64_t skip;            /* 0; best pairs that are passed over */
  int32_t collapse;        /* HELIP_COLLAPSE_NONE */
  int32_t threads;         /* 0 */
  int64_t candidates;      /* 0: min(N, 3000000); of sample */
  int64_t refresh;         /* 300000; of sample */
  uint64_t seed;           /* 0; of sample, hnsw, partition */
  double recall;           /* 0.95; of hnsw and partition */
  int64_t memory;          /* bytes for buffers; 0: a quarter of what the machine gives */
  int64_t parts;           /* 1; commits of a job that writes to disk */
  double checkpoint;       /* 60; seconds of work between checkpoints of partition */
  const char* codes;       /* NULL: none; a folder for codes that later jobs take up */
  int32_t keep_codes;      /* 0; 1: with codes NULL, those in the folder of the store */
  int32_t reserved;        /* 0 */
} helip_mine_options;
HELIP_EXPORT helip_status helip_mine_options_init(helip_mine_options* options, size_t struct_size);

/* For every row the k rows of largest product of both cosines. `options` NULL: the defaults. `path`
 * NULL: the table is kept in memory; else it is streamed to a new directory. */
HELIP_EXPORT helip_status helip_mine(const helip_matrix* image, const helip_matrix* text,
                                     const helip_mine_options* options,
                                     const helip_control* control, const char* path,
                                     helip_pairs** out);
HELIP_EXPORT helip_status helip_mine_store(const helip_store* store,
                                           const helip_mine_options* options,
                                           const helip_control* control, const char* path,
                                           helip_pairs** out);

/* What mining would cost on this machine. */
typedef struct helip_mine_plan {
  size_t struct_size;
  double seconds;
  int64_t memory_bytes;  /* buffers beyond the input */
  int64_t disk_bytes;    /* the saved table */
  int64_t pairs;         /* ordered pairs that will be scored */
  int64_t scratch_bytes; /* on disk while it runs */
  int32_t method;        /* never HELIP_METHOD_AUTO */
  int32_t reserved;
} helip_mine_plan;
HELIP_EXPORT helip_status helip_plan(const helip_matrix* image, const helip_matrix* text,
                                     const helip_mine_options* options,
                                     const helip_control* control, helip_mine_plan* out);
HELIP_EXPORT helip_status helip_plan_store(const helip_store* store,
                                           const helip_mine_options* options,
                                           const helip_control* control, helip_mine_plan* out);

typedef struct helip_update_options {
  size_t struct_size;
  int64_t memory;     /* bytes for buffers; 0: a quarter of what the machine gives */
  const char* codes;  /* NULL: none; a folder, also of an earlier state of the store */
  int32_t threads;    /* 0: all cores */
  int32_t keep_codes; /* 0; 1: with codes NULL, those in the folder of the store */
} helip_update_options;
HELIP_EXPORT helip_status helip_update_options_init(helip_update_options* options,
                                                    size_t struct_size);

/* The table that helip_mine_store() gives for `store` with the options of `pairs`, which was mined
 * exactly from an earlier state of it (helip/update.h). `options` NULL: the defaults. `path` NULL:
 * in memory; else a new directory, or that of `pairs`, which is replaced in one step. */
HELIP_EXPORT helip_status helip_update(const helip_pairs* pairs, const helip_store* store,
                                       const helip_update_options* options,
                                       const helip_control* control, const char* path,
                                       helip_pairs** out);

/* ---- Indexes of pairs -------------------------------------------------------------------- */

/* Answers for new pairs which of its own are hard (helip/pair_index.h). Any number of threads may
 * query at once, also while one adds or removes. */
typedef struct helip_index helip_index;

typedef struct helip_index_options {
  size_t struct_size;
  double image_max; /* 0.98; a pair of greater image cosine is no result */
  double text_max;  /* 0.98 */
  int64_t degree;   /* 32; links of a pair */
  int64_t breadth;  /* 80; of the searches that find the links */
  uint64_t seed;    /* 0; of the order in which pairs are linked */
} helip_index_options;
HELIP_EXPORT helip_status helip_index_options_init(helip_index_options* options,
                                                   size_t struct_size);

typedef struct helip_index_info {
  size_t struct_size;
  int64_t pairs;
  int64_t image_dim;
  int64_t text_dim;
  int64_t bytes; /* of rows, codes, ids and links */
} helip_index_info;

/* `ids` [n], 0 .. 2^63 - 2, each once; NULL: row numbers. `options` NULL: the defaults. */
HELIP_EXPORT helip_status helip_index_build(const helip_matrix* image, const helip_matrix* text,
                                            const helip_index_options* options, const int64_t* ids,
                                            int32_t threads, const helip_control* control,
                                            helip_index** out);
/* Ids are the rows of the store. */
HELIP_EXPORT helip_status helip_index_build_store(const helip_store* store,
                                                  const helip_index_options* options,
                                                  int32_t threads, const helip_control* control,
                                                  helip_index** out);
HELIP_EXPORT helip_status helip_index_open(const char* path, const helip_control* control,
                                           helip_index** out);
HELIP_EXPORT void helip_index_free(helip_index* index);
/* Writes a directory that did not exist, all or nothing. */
HELIP_EXPORT helip_status helip_index_save(const helip_index* index, const char* path,
                                           const helip_control* control);
/* All pairs or none. `ids` NULL: they go on from the greatest. */
HELIP_EXPORT helip_status helip_index_add(helip_index* index, const helip_matrix* image,
                                          const helip_matrix* text, const int64_t* ids,
                                          int32_t threads, const helip_control* control);
/* Pairs of these ids get other embeddings. All or none. */
HELIP_EXPORT helip_status helip_index_replace(helip_index* index, const helip_matrix* image,
                                              const helip_matrix* text, const int64_t* ids,
                                              int32_t threads, const helip_control* control);
/* Pairs of these `count` ids are found no more. All or none. */
HELIP_EXPORT helip_status helip_index_remove(helip_index* index, const int64_t* ids, int64_t count);
/* Whether a pair of this id may be found; called by any thread that searches. It must not use the
 * index that is asked. */
typedef int32_t (*helip_id_filter)(void* user, int64_t id);
/* The k best of each of the n rows: `ids` [n, k], `scores` [n, k], `counts` [n], of the caller's
 * memory, each NULL where it is not wanted; -1 and 0 beyond the count. `breadth` of the search, at
 * least k; 0: max(64, 2 k). `allows` NULL: all; where it lets few through none is missed. */
HELIP_EXPORT helip_status helip_index_query(const helip_index* index, const helip_matrix* image,
                                            const helip_matrix* text, int64_t k, int64_t breadth,
                                            int32_t threads, const helip_control* control,
                                            helip_id_filter allows, void* user, int64_t* ids,
                                            float* scores, int32_t* counts);
/* The same of the n = `count` pairs of these ids, `of`, without themselves. */
HELIP_EXPORT helip_status helip_index_near(const helip_index* index, const int64_t* of,
                                           int64_t count, int64_t k, int64_t breadth,
                                           int32_t threads, const helip_control* control,
                                           helip_id_filter allows, void* user, int64_t* ids,
                                           float* scores, int32_t* counts);
HELIP_EXPORT helip_status helip_index_get_info(const helip_index* index, helip_index_info* info);

#ifdef __cplusplus
}
#endif

#endif /* HELIP_H */
