#include "data_pipeline/attributes.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/error.h"
#include "data_pipeline/dedup.h"
#include "data_pipeline/language.h"

namespace decant {

namespace {

static_assert(std::endian::native == std::endian::little);

bool is_said(const Message& message) { return message.role == "user" || message.role == "assistant"; }

constexpr size_t kTextBytes = 4;

template <class T>
constexpr size_t size_in_row() {
  return std::is_same_v<T, std::string> ? kTextBytes : sizeof(T);
}

uint64_t from_hex(std::string_view hex) {
  uint64_t value = 0;
  for (const char c : hex) value = value << 4 | static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return value;
}

std::string to_hex16(uint64_t value) {
  std::string hex(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) hex[i] = "0123456789abcdef"[value & 15];
  return hex;
}

// Six digits are what a float holds; JSON shows no more.
double rounded(float value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double scale = std::pow(10.0, 5 - std::floor(std::log10(std::abs(static_cast<double>(value)))));
  return scale >= 1 ? std::round(static_cast<double>(value) * scale) / scale : static_cast<double>(value);
}

}  // namespace

std::string document_text(const Conversation& conversation) {
  std::string text;
  for (const Message& message : conversation.messages) {
    if (!is_said(message) || message.content.empty()) continue;
    if (!text.empty()) text.push_back('\n');
    text += message.content;
  }
  return text;
}

Attributes AttributeMeter::measure(const Conversation& conversation, std::string_view key) {
  Attributes a;
  LanguageEvidence evidence;
  for (const Message& message : conversation.messages)
    if (is_said(message)) evidence.add(message.content);
  const Language language = evidence.language();
  a.language = language.code;
  a.script = language.script;
  a.language_score = language.score;

  const std::string text = document_text(conversation);
  scan_.scan(text);
  a.bytes = static_cast<float>(text.size());
  a.characters = static_cast<float>(count_characters(text));
  a.conversation = measure_conversation(conversation);
  a.quality = measure_quality(scan_);
  a.repetition = repetition_.measure(scan_);
  const std::string own = key.empty() ? duplicate_key(conversation) : std::string(key);
  check(own.size() >= 32, "a duplicate key has 32 hexadecimal digits at least, found ", own.size());
  a.exact_key = {from_hex(std::string_view(own).substr(0, 16)),
                 from_hex(std::string_view(own).substr(16, 16))};
  scan_.forget();
  return a;
}

Json attributes_json(const Attributes& attributes, std::span<const char* const> pii_names) {
  Json json = Json::object();
  Attributes::visit(attributes, [&](const char* name, const auto& value, const char*) {
    using T = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      json[name] = value;
    } else if constexpr (std::is_same_v<T, float>) {
      const double number = rounded(value);
      if (number == std::floor(number) && std::abs(number) < 1e15) {
        json[name] = static_cast<int64_t>(number);
      } else {
        json[name] = number;
      }
    } else if constexpr (std::is_same_v<T, uint64_t>) {
      json[name] = value == kNoRoot ? Json() : Json(value);
    } else if constexpr (std::is_same_v<T, std::array<uint64_t, 2>>) {
      json[name] = to_hex16(value[0]) + to_hex16(value[1]);
    } else {
      Json kinds = Json::object();
      for (size_t i = 0; i < value.size(); ++i)
        if (value[i] != 0)
          kinds[i < pii_names.size() ? pii_names[i] : "kind_" + std::to_string(i)] = value[i];
      json[name] = std::move(kinds);
    }
  });
  return json;
}

size_t attributes_row_bytes() {
  static const size_t bytes = [] {
    size_t n = 0;
    const Attributes none;
    Attributes::visit(none, [&](const char*, const auto& value, const char*) {
      n += size_in_row<std::remove_cvref_t<decltype(value)>>();
    });
    return n;
  }();
  return bytes;
}

void append_attributes_row(const Attributes& attributes, std::string& out) {
  Attributes::visit(attributes, [&](const char* name, const auto& value, const char*) {
    using T = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      check(value.size() <= kTextBytes, "'", name, "' has more than ", kTextBytes, " bytes");
      out += value;
      out.append(kTextBytes - value.size(), '\0');
    } else {
      static_assert(std::is_trivially_copyable_v<T>);
      out.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  });
}

Attributes read_attributes_row(std::string_view row) {
  check(row.size() == attributes_row_bytes(), "a row of attributes has ", row.size(), " bytes, expected ",
        attributes_row_bytes());
  Attributes attributes;
  size_t at = 0;
  Attributes::visit(attributes, [&](const char*, auto& value, const char*) {
    using T = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      value = row.substr(at, kTextBytes);
      value.resize(std::min(value.find('\0'), value.size()));
    } else {
      std::memcpy(&value, row.data() + at, sizeof value);
    }
    at += size_in_row<T>();
  });
  return attributes;
}

Json attributes_schema() {
  Json schema = Json::array();
  size_t at = 0;
  const Attributes none;
  Attributes::visit(none, [&](const char* name, const auto& value, const char* help) {
    using T = std::remove_cvref_t<decltype(value)>;
    const char* type = std::is_same_v<T, std::string>               ? "text4"
                       : std::is_same_v<T, float>                   ? "f32"
                       : std::is_same_v<T, uint64_t>                ? "u64"
                       : std::is_same_v<T, std::array<uint64_t, 2>> ? "u64[2]"
                                                                    : "u16[32]";
    schema.push_back({{"name", name}, {"type", type}, {"offset", at}, {"help", help}});
    at += size_in_row<T>();
  });
  return schema;
}

}  // namespace decant
