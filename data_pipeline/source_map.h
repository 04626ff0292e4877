// Where each byte of a text came from in the text that it was made of, so that spans found late (people's
// data, loss, an n-gram of an evaluation set) can be shown in the file that was read.
//
// A list of runs in the order of the output. A copied run is byte for byte; in a replaced run every output
// byte came from the whole source range (a composed character, a decoded entity). What was removed is in no
// run. The order of the source is kept: runs never cross.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace decant {

class SourceMap {
 public:
  enum class Kind : uint8_t { kCopied, kReplaced };
  struct Run {
    uint32_t output_begin, length;  // bytes of the output
    uint32_t source_begin, source_length;
    Kind kind;
    bool operator==(const Run&) const = default;
  };
  using Range = std::pair<size_t, size_t>;  // begin, end

  // Building, from the front of the output to its end. Neighbours that continue each other become one run. At
  // most 4 GiB of either text.
  void copy(size_t source_begin, size_t length);
  void replace(size_t source_begin, size_t source_length, size_t length);
  void append(const SourceMap& part, size_t source_offset);  // a part whose source began there
  void truncate(size_t output_size);                         // forgets the output from there on

  size_t output_size() const;
  const std::vector<Run>& runs() const { return runs_; }

  // The source byte that output byte `byte` was copied from, or the first of the range that it replaces;
  // output_size() gives the end of the last run's source. std::logic_error beyond.
  size_t source_of(size_t byte) const;
  // The smallest range of the source that holds all that output [begin, end) came from, what was removed
  // between included. An empty range is empty at source_of(begin).
  Range source_range(size_t begin, size_t end) const;

  bool operator==(const SourceMap&) const = default;

 private:
  const Run& run_at(size_t byte) const;
  std::vector<Run> runs_;
};

// The map of two steps in a row: `first` from source to middle, `second` from middle to output.
SourceMap compose(const SourceMap& first, const SourceMap& second);

// A text in the making, with its map.
struct MappedText {
  std::string text;
  SourceMap map;

  void copy(std::string_view source, size_t begin, size_t length) {
    text.append(source, begin, length);
    map.copy(begin, length);
  }
  void replace(size_t source_begin, size_t source_length, std::string_view by) {
    text += by;
    map.replace(source_begin, source_length, by.size());
  }
  void append(const MappedText& part, size_t source_offset) {
    text += part.text;
    map.append(part.map, source_offset);
  }
  void truncate(size_t size) {
    text.resize(size);
    map.truncate(size);
  }
};

}  // namespace decant
