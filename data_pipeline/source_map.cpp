#include "data_pipeline/source_map.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace decant {

namespace {

uint32_t narrow(size_t value) {
  if (value > std::numeric_limits<uint32_t>::max()) throw std::logic_error("a mapped text is over 4 GiB");
  return static_cast<uint32_t>(value);
}

using Run = SourceMap::Run;
using Kind = SourceMap::Kind;

}  // namespace

size_t SourceMap::output_size() const {
  return runs_.empty() ? 0 : size_t{runs_.back().output_begin} + runs_.back().length;
}

void SourceMap::copy(size_t source_begin, size_t length) {
  if (length == 0) return;
  const size_t output = output_size();
  narrow(source_begin + length), narrow(output + length);
  if (!runs_.empty()) {
    Run& last = runs_.back();
    if (last.kind == Kind::kCopied && size_t{last.source_begin} + last.length == source_begin) {
      last.length = last.source_length = narrow(size_t{last.length} + length);
      return;
    }
  }
  runs_.push_back({narrow(output), narrow(length), narrow(source_begin), narrow(length), Kind::kCopied});
}

void SourceMap::replace(size_t source_begin, size_t source_length, size_t length) {
  if (length == 0) return;
  const size_t output = output_size();
  narrow(source_begin + source_length), narrow(output + length);
  if (!runs_.empty()) {
    Run& last = runs_.back();
    if (last.kind == Kind::kReplaced && last.source_begin == source_begin &&
        last.source_length == source_length) {
      last.length = narrow(size_t{last.length} + length);
      return;
    }
  }
  runs_.push_back(
      {narrow(output), narrow(length), narrow(source_begin), narrow(source_length), Kind::kReplaced});
}

void SourceMap::append(const SourceMap& part, size_t source_offset) {
  for (const Run& run : part.runs_) {
    if (run.kind == Kind::kCopied) {
      copy(source_offset + run.source_begin, run.length);
    } else {
      replace(source_offset + run.source_begin, run.source_length, run.length);
    }
  }
}

void SourceMap::truncate(size_t size) {
  while (!runs_.empty() && runs_.back().output_begin >= size) runs_.pop_back();
  if (output_size() <= size) return;
  Run& last = runs_.back();
  last.length = static_cast<uint32_t>(size - last.output_begin);
  if (last.kind == Kind::kCopied) last.source_length = last.length;
}

const Run& SourceMap::run_at(size_t byte) const {
  if (byte >= output_size()) throw std::logic_error("a byte beyond the mapped text");
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), byte,
                                      [](size_t b, const Run& run) { return b < run.output_begin; });
  return *(after - 1);
}

size_t SourceMap::source_of(size_t byte) const {
  if (byte == output_size())
    return runs_.empty() ? 0 : size_t{runs_.back().source_begin} + runs_.back().source_length;
  const Run& run = run_at(byte);
  return run.kind == Kind::kCopied ? run.source_begin + (byte - run.output_begin) : run.source_begin;
}

SourceMap::Range SourceMap::source_range(size_t begin, size_t end) const {
  const size_t first = source_of(begin);
  if (end <= begin) return {first, first};
  const Run& run = run_at(end - 1);
  const size_t last = run.kind == Kind::kCopied ? run.source_begin + (end - run.output_begin)
                                                : size_t{run.source_begin} + run.source_length;
  return {first, last};
}

SourceMap compose(const SourceMap& first, const SourceMap& second) {
  SourceMap both;
  const auto& runs = first.runs();
  size_t k = 0;
  for (const Run& run : second.runs()) {
    if (run.kind == Kind::kReplaced) {
      const auto [begin, end] =
          first.source_range(run.source_begin, size_t{run.source_begin} + run.source_length);
      both.replace(begin, end - begin, run.length);
      continue;
    }
    const size_t end = size_t{run.source_begin} + run.length;
    for (size_t at = run.source_begin; at < end;) {
      while (k < runs.size() && size_t{runs[k].output_begin} + runs[k].length <= at) ++k;
      if (k == runs.size()) throw std::logic_error("the second map's source is not the first one's output");
      const size_t offset = at - runs[k].output_begin;
      const size_t length = std::min(end - at, runs[k].length - offset);
      if (runs[k].kind == Kind::kCopied) {
        both.copy(runs[k].source_begin + offset, length);
      } else {
        both.replace(runs[k].source_begin, runs[k].source_length, length);
      }
      at += length;
    }
  }
  return both;
}

}  // namespace decant
