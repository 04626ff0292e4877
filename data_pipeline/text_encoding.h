// Text in the encodings that files come in, as UTF-8.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "data_pipeline/byte_stream.h"
#include "data_pipeline/source_config.h"

namespace decant {

struct DecodedText {
  std::unique_ptr<ByteStream> stream;  // UTF-8, without a byte-order mark
  uint64_t offset = 0;                 // of its first byte: 3 behind UTF-8's byte-order mark
};

// With kAuto a byte-order mark decides (UTF-8, UTF-16, GB18030; UTF-32 is an Error). Without one the text is
// UTF-8, unless the first 256 KiB from its first byte beyond ASCII look like GB18030 (looks_like_gb18030).
// UTF-8 is passed on as it is, so that a record with bytes of something else can be quarantined; in the other
// encodings a sequence that means nothing becomes the byte FF, which has the same effect. `name` begins error
// texts.
DecodedText decode_text(std::unique_ptr<ByteStream> bytes, TextEncoding encoding, const std::string& name);

// Most lines that are not ASCII are not UTF-8, all of it is well-formed GB18030, and four of five characters
// of two bytes are of the old GB 2312, as in any Chinese text and hardly by accident in Latin-1.
bool looks_like_gb18030(std::string_view window);

}  // namespace decant
