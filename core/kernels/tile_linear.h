// Products of token rows with a weight in tiles of at most 64 by 64 (tile.h), bf16, whatever the weight is
// made of; what low-rank terms add is added to a tile while it is in the cache and still fp32.
//
// Forward, the weight's rows are the left operand as they lie and x is packed, once for all of them; a tile
// comes out transposed. For an input gradient, and for a weight of few rows, x is the left operand and the
// weight is packed block by block, once for up to kTokens tokens.
//
// A row's bits depend neither on its place nor on its neighbours (gemm.h says why): every tile has the same
// number of tokens, padded with zeros, and depth is cut by the weight's shape alone.
//
// A Weight has
//   kWide, kDeep        rows (columns) of it that are worked on at one time, and how deep at most
//   kTokens             tokens that such a block is made for
//   left(row, rows, column, columns)   its block as a left operand: padded_depth(columns) deep
//   right(row, rows, column, columns, n, out)  its block, the rows as the inner dimension, as right operands
//   of n
//                                      columns each, padded_depth(rows) deep
// Internal to the kernels: gemm.cpp and quantized_gemm.cpp.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "core/instruction_set.h"
#include "core/kernels/gemm.h"
#include "core/kernels/low_rank.h"
#include "core/kernels/quantized_loops.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile.h"

namespace decant {

constexpr int64_t kTile = 64;
constexpr int64_t kPlainTokens = 512, kQuantizedTokens = 1024;  // as the memory plan counts them

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
// What products sum, padded: bf16 in pairs, AMX in rows of a tile.
inline int64_t padded_depth(int64_t n) {
  return round_up(n, instruction_set() == InstructionSet::kAmxBf16 ? 32 : 2);
}
inline int64_t deep_rank(int64_t rank) { return round_up(padded_depth(rank), 16); }

inline int64_t tile_of(Panel panel) { return std::min(kTile, static_cast<int64_t>(panel)); }

inline bool in_tiles(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 && bf16_tiles(); }

// Equal parts of at most `most`.
inline int64_t depth_step(int64_t inner, int64_t most) {
  const auto parts = (inner + most - 1) / most;
  return round_up((inner + parts - 1) / parts, 32);
}

// Blocks of at most `most` columns that fill them well, and every thread.
inline int64_t block_width(int64_t columns, int64_t most) {
  if (columns <= kTile) return round_up(columns, 16);
  const int64_t threads = at::get_num_threads(), tiles = (columns + kTile - 1) / kTile;
  const auto wanted = threads == 1 ? 1 : std::min(tiles, 4 * threads);
  const auto blocks = std::max((columns + most - 1) / most, wanted);
  return round_up((columns + blocks - 1) / blocks, kTile);
}

// Room of a thread, kept from call to call.
template <class T, int which>
T* room(int64_t elements) {
  thread_local std::vector<T> values;
  if (values.size() < static_cast<size_t>(elements)) values.resize(static_cast<size_t>(elements));
  return values.data();
}

struct LeftOperand {
  const uint16_t* values;
  int64_t stride;
};

// x [rows, columns] with zeros up to [padded_rows, padded_columns].
inline at::Tensor padded_block(const at::Tensor& x, int64_t padded_rows, int64_t padded_columns) {
  if (x.size(0) == padded_rows && x.size(1) == padded_columns) return with_plain_rows(x);
  return at::constant_pad_nd(x, {0, padded_columns - x.size(1), 0, padded_rows - x.size(0)});
}

// A LowRankAdd's rows within some tiles.
struct TermRows {
  const LowRankAdd* add;
  int64_t begin, end;  // rows of the tiles
  int64_t deep;        // rank, padded
  at::Tensor s;        // [end - begin, R]

  // `rows` from `row` on of a product are the tiles.
  static std::vector<TermRows> of(LowRankAdds adds, int64_t row, int64_t rows) {
    std::vector<TermRows> found;
    for (const auto& add : adds) {
      const auto begin = std::max(add.begin, row), end = std::min(add.end, row + rows);
      if (begin < end && add.rank() > 0)
        found.push_back({&add, begin - row, end - row, deep_rank(add.rank()),
                         add.s.narrow(0, begin - add.begin, end - begin)});
    }
    return found;
  }
  // Calls visit(tile, first row in it, end).
  template <class Visit>
  void each_tile(int64_t tile, const Visit& visit) const {
    for (int64_t t = begin / tile; t * tile < end; ++t)
      visit(t, std::max<int64_t>(begin - t * tile, 0), std::min(end - t * tile, tile));
  }
  int64_t tiles(int64_t tile) const { return (end + tile - 1) / tile - begin / tile; }
};

// At most kTokens rows of x; `row`: x's first one in the product that `adds` are of.
template <class Weight>
void tile_linear_some(const at::Tensor& x, const Weight& w, const at::Tensor& bias, int64_t tile,
                      LowRankAdds adds, int64_t row, at::Tensor y) {
  const auto& loop = loops()->bf16;
  const int64_t rows = x.size(0), inputs = x.size(1), outputs = y.size(1), tiles = (rows + tile - 1) / tile,
                all = padded_depth(inputs), step = depth_step(inputs, Weight::kDeep);
  const auto packed = at::empty({tiles, all * tile}, x.options());
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      loop.pack_columns(words(x) + t * tile * x.stride(0), x.stride(0), std::min(tile, rows - t * tile),
                        inputs, tile, all, words(packed) + t * all * tile);
  });

  struct Term {
    TermRows rows;
    at::Tensor s, b;  // s packed tile by tile; b [N, deep]
  };
  std::vector<Term> terms;
  for (auto& one : TermRows::of(adds, row, rows)) {
    const auto right = at::empty({one.tiles(tile), one.deep * tile}, x.options());
    const auto s = with_plain_rows(one.s);
    one.each_tile(tile, [&](int64_t t, int64_t from, int64_t to) {
      const auto in_s = words(s) + (t * tile + from - one.begin) * s.stride(0);
      auto* out = words(right) + (t - one.begin / tile) * one.deep * tile;
      if (from == 0) return loop.pack_columns(in_s, s.stride(0), to, one.add->rank(), tile, one.deep, out);
      auto* shifted = room<uint16_t, 3>(tile * one.deep);
      std::fill_n(shifted, from * one.deep, uint16_t{0});
      loop.copy_block(in_s, s.stride(0), to - from, one.add->rank(), tile - from, one.deep,
                      shifted + from * one.deep);
      loop.pack_columns(shifted, one.deep, tile, one.deep, tile, one.deep, out);
    });
    terms.push_back({one, right, padded_block(one.add->b, one.add->b.size(0), one.deep)});
  }

  const int64_t wide = block_width(outputs, Weight::kWide);
  at::parallel_for(0, (outputs + wide - 1) / wide, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    auto* c = room<float, 1>(tiles * wide * tile);
    auto* delta = room<float, 2>(kTile * kTile);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * wide, some = std::min(wide, outputs - first);
      for (int64_t q = 0; q < inputs; q += step) {
        const int64_t width = std::min(step, inputs - q);
        const LeftOperand left = w.left(first, some, q, width);
        for (int64_t t = 0; t < tiles; ++t)
          for (int64_t r = 0; r < some; r += kTile)
            tile_product(std::min(kTile, some - r), tile, padded_depth(width), left.values + r * left.stride,
                         left.stride, words(packed) + (t * all + q) * tile, tile, c + (t * wide + r) * tile,
                         tile, q > 0);
      }
      for (const auto& term : terms) {
        const auto& add = *term.rows.add;
        const auto last = std::min(first + some, add.column + term.b.size(0));
        for (int64_t n = std::max(first, add.column); n < last; n += kTile) {
          const auto m = std::min(kTile, last - n);
          term.rows.each_tile(tile, [&](int64_t t, int64_t from, int64_t to) {
            tile_product(m, tile, term.rows.deep, words(term.b) + (n - add.column) * term.b.stride(0),
                         term.b.stride(0),
                         words(term.s) + (t - term.rows.begin / tile) * term.rows.deep * tile, tile, delta,
                         tile, false);
            loops()->fp32.add_scaled(c + (t * wide + n - first) * tile + from, tile, delta + from, tile, m,
                                     to - from, static_cast<float>(add.factor));
          });
        }
      }
      for (int64_t t = 0; t < tiles; ++t)
        quantized_loops()->store_transposed(
            c + t * wide * tile, tile, bias.defined() ? words(bias) + first : nullptr,
            std::min(tile, rows - t * tile), some, words(y) + t * tile * y.stride(0) + first, y.stride(0));
    }
  });
}

// y = x w^T (+ bias) + adds. x [T, K], y [T, N] with contiguous rows.
template <class Weight>
void tile_linear(const at::Tensor& x_given, const Weight& w, const at::Tensor& bias, int64_t tile,
                 LowRankAdds adds, at::Tensor y) {
  const auto x = with_plain_rows(x_given);
  for (int64_t row = 0; row < x.size(0); row += Weight::kTokens) {
    const int64_t some = std::min(Weight::kTokens, x.size(0) - row);
    tile_linear_some(x.narrow(0, row, some), w, bias, tile, adds, row, y.narrow(0, row, some));
  }
}

// At most kTokens rows of x [rows, padded_depth(inner)]; `tail`: the last ones, padded to a tile, when
// they are not one.
template <class Weight>
void tile_rows_some(const at::Tensor& x, const at::Tensor& tail, int64_t inner, const Weight& w,
                    const at::Tensor& bias, int64_t tile, LowRankAdds adds, int64_t row, at::Tensor y) {
  const auto& loop = loops()->bf16;
  const int64_t rows = x.size(0), columns = y.size(1), tiles = (rows + tile - 1) / tile,
                step = depth_step(inner, Weight::kDeep), n = std::min(kTile, round_up(columns, 16)),
                wide = block_width(columns, Weight::kWide), panels = wide / n;

  struct Term {
    TermRows rows;
    at::Tensor b, s;  // b packed by n columns; s [rows of the term, deep]
  };
  std::vector<Term> terms;
  for (auto& one : TermRows::of(adds, row, rows)) {
    TORCH_INTERNAL_ASSERT(one.add->column == 0 && one.add->b.size(1) == columns);
    const auto b = with_plain_rows(one.add->b);
    const auto packed = at::empty({(columns + n - 1) / n, one.deep * n}, x.options());
    for (int64_t c = 0; c * n < columns; ++c)
      loop.pack_rows(words(b) + c * n, b.stride(0), one.add->rank(), std::min(n, columns - c * n), one.deep,
                     n, words(packed) + c * one.deep * n);
    terms.push_back({one, packed, padded_block(one.s, one.s.size(0), one.deep)});
  }

  at::parallel_for(0, (columns + wide - 1) / wide, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    auto* right = room<uint16_t, 4>(wide * padded_depth(step));
    auto* c = room<float, 1>(tiles * wide * tile);
    auto* delta = room<float, 2>(kTile * kTile);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * wide, some = std::min(wide, columns - first);
      const auto at = [&](int64_t t, int64_t p) { return c + (t * panels + p) * tile * n; };
      for (int64_t q = 0; q < inner; q += step) {
        const int64_t depth = std::min(step, inner - q);
        w.right(q, depth, first, some, n, right);
        for (int64_t t = 0; t < tiles; ++t) {
          const auto& of = (t + 1) * tile <= rows ? x : tail;
          const auto* left = words(of) + (&of == &x ? t * tile * x.stride(0) : 0) + q;
          for (int64_t p = 0; p * n < some; ++p)
            tile_product(tile, n, padded_depth(depth), left, of.stride(0),
                         right + p * padded_depth(depth) * n, n, at(t, p), n, q > 0);
        }
      }
      for (const auto& term : terms) {
        const auto& add = *term.rows.add;
        term.rows.each_tile(tile, [&](int64_t t, int64_t from, int64_t to) {
          const auto own = t * tile + from - term.rows.begin;  // first row of the term
          const auto* left = words(term.s) + own * term.s.stride(0);
          auto stride = term.s.stride(0);
          if (to - from < tile) {
            auto* whole = room<uint16_t, 3>(tile * term.rows.deep);
            loop.copy_block(left, stride, to - from, term.rows.deep, tile, term.rows.deep, whole);
            left = whole;
            stride = term.rows.deep;
          }
          for (int64_t p = 0; p * n < some; ++p) {
            const auto column = first + p * n, count = std::min(n, columns - column);
            tile_product(tile, n, term.rows.deep, left, stride, words(term.b) + column * term.rows.deep, n,
                         delta, n, false);
            auto* to_c = at(t, p) + from * n;
            if (add.dropped.defined())
              loops()->fp32.add_scaled_kept(
                  to_c, n, delta, n,
                  add.dropped.template const_data_ptr<uint8_t>() +
                      (row + t * tile + from - add.begin) * add.dropped.size(1) + column / 8,
                  add.dropped.size(1), to - from, count, static_cast<float>(add.factor));
            else
              loops()->fp32.add_scaled(to_c, n, delta, n, to - from, count, static_cast<float>(add.factor));
          }
        });
      }
      for (int64_t t = 0; t < tiles; ++t)
        for (int64_t p = 0; p * n < some; ++p) {
          const auto count = std::min(n, some - p * n), high = std::min(tile, rows - t * tile);
          if (bias.defined())
            for (int64_t r = 0; r < high; ++r)
              for (int64_t i = 0; i < count; ++i)
                at(t, p)[r * n + i] +=
                    static_cast<float>(bias.const_data_ptr<at::BFloat16>()[first + p * n + i]);
          loop.store_block(at(t, p), n, false, high, count, words(y) + t * tile * y.stride(0) + first + p * n,
                           y.stride(0));
        }
    }
  });
}

// y = x w (+ bias) + adds. x [T, inner], y [T, columns] with contiguous rows; w's rows are the inner
// dimension.
template <class Weight>
void tile_rows(const at::Tensor& x_given, const Weight& w, const at::Tensor& bias, int64_t tile,
               LowRankAdds adds, at::Tensor y) {
  const int64_t rows = x_given.size(0), inner = x_given.size(1), all = padded_depth(inner),
                left = rows % tile;
  const auto x = padded_block(x_given, rows, all);
  const auto tail = left == 0 ? x : padded_block(x.narrow(0, rows - left, left), tile, all);
  for (int64_t row = 0; row < rows; row += Weight::kTokens) {
    const int64_t some = std::min(Weight::kTokens, rows - row);
    tile_rows_some(x.narrow(0, row, some), tail, inner, w, bias, tile, adds, row, y.narrow(0, row, some));
  }
}

}  // namespace decant
