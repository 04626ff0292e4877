// Normal forms of Unicode 15.0 on UTF-8, with the map of every byte, whatever Unicode the machine's ICU
// knows: younger characters neither compose, decompose nor move. (The tokenizers' forms are unicode.h's; they
// follow Hugging Face's.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data_pipeline/source_map.h"

namespace decant {

enum class PinnedForm {
  kNFC,
  kNFKC,
  kNFKCCasefold,  // for matching: case and compatibility forms folded, default-ignorable characters gone
};

// Appends the normal form of `text` (well-formed UTF-8, its first byte is byte `source_offset` of the
// source).
void append_normal_form(std::string_view text, PinnedForm form, size_t source_offset, MappedText& out);

// The normal form without a map: `text` itself where it is in the form, else in `buffer`.
std::string_view normal_form(std::string_view text, PinnedForm form, std::string& buffer);

// True when NFC leaves the character as it is, whatever follows that is `nfc_stable` too, and nothing before
// it ever composes with it. So a text of such characters is in NFC, and each is a place where a text can be
// cut without changing what NFC makes of the parts.
bool nfc_stable(uint32_t code_point);

}  // namespace decant
