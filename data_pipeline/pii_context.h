// The words that say what a number or a name beside them is, and what the PII finders ask about them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "data_pipeline/pii_text.h"

namespace decant {

enum class PiiTopic : uint8_t {
  kNone,
  kConnector,  // "number", "is", 是, 号码: between a label and its value
  kPhone,
  kHotline,  // 客服热线: a telephone, but of a firm
  kIdCard,
  kIdCardOld,  // 身份证: enough for the 15-digit form
  kCard,
  kPassport,
  kPermit,
  kHongKong,
  kTaiwan,
  kPlate,
  kCreditCode,
  kQq,
  kWechat,
  kWechatId,  // 微信号: what follows is one
  kEmail,
  kIp,
  kMac,
  kImei,
  kMilitary,
  kSocial,
  kBirth,
  kAddress,
  kName,    // 姓名, "name:": needs a colon or a connector
  kRole,    // 客户, 患者: a name may follow
  kSelf,    // 我叫, "my name is": a name follows
  kMister,  // "mr"
  kTitle,   // 先生: a name may come before
  kSecret,  // password, 密码
  kOrder,
  kMoney,
  kUnit,  // 元, dollars: behind an amount
  kVersion,
  kCount
};

inline constexpr size_t kPiiTopics = static_cast<size_t>(PiiTopic::kCount);

struct PiiWord {
  PiiTopic topic = PiiTopic::kNone;
  size_t begin = 0, end = 0;
};

// The longest word that begins at (ends before) unit i; topic kNone when there is none. ASCII words must be
// whole words.
PiiWord pii_word_at(const PiiText& text, size_t i);
PiiWord pii_word_before(const PiiText& text, size_t i);
bool pii_word_may_begin(char16_t unit);

// Past spaces, colons, brackets, quotes and connector words.
size_t pii_after_label(const PiiText& text, size_t i);

struct PiiContext {
  static constexpr uint8_t kFar = 255;
  PiiTopic label = PiiTopic::kNone;          // of the nearest word before, with only connectors between
  PiiTopic after = PiiTopic::kNone;          // the same behind
  std::array<uint8_t, kPiiTopics> distance;  // units back to the topic's nearest word
  bool ascii_label = false;                  // the label is an English word
  bool whole = false;                        // nothing else in the text

  bool is(PiiTopic topic) const { return label == topic || after == topic; }
  bool near(PiiTopic topic, uint8_t units = 32) const {
    return is(topic) || distance[static_cast<size_t>(topic)] <= units;
  }
};

PiiContext pii_context(const PiiText& text, size_t begin, size_t end);

}  // namespace decant
