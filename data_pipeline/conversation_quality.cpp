#include "data_pipeline/conversation_quality.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_set>

#include "core/hash.h"
#include "data_pipeline/phrases.h"
#include "data_pipeline/text_scan.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

float ratio(double part, double whole) { return whole == 0 ? 0 : static_cast<float>(part / whole); }

const Phrases& refusals() {
  static const Phrases phrases = {"as an ai language model",
                                  "as an ai assistant",
                                  "as a large language model",
                                  "i'm an ai language model",
                                  "i cannot assist with that",
                                  "i can't assist with that",
                                  "i cannot help with that request",
                                  "i can't help with that request",
                                  "i'm sorry, but i can't",
                                  "i'm sorry, but i cannot",
                                  "i am sorry, but i cannot",
                                  "i cannot fulfill",
                                  "i'm unable to assist",
                                  "i am unable to assist",
                                  "作为一个人工智能",
                                  "作为人工智能",
                                  "作为一名人工智能",
                                  "作为一个ai",
                                  "作为ai语言模型",
                                  "作为一个语言模型",
                                  "我无法提供相关",
                                  "抱歉，我无法回答",
                                  "抱歉，我不能回答",
                                  "作為一個人工智慧",
                                  "作為人工智慧"};
  return phrases;
}

const Phrases& boilerplate() {
  static const Phrases phrases = {"this is an automated",
                                  "automated response",
                                  "automatic reply",
                                  "do not reply to this",
                                  "please do not reply",
                                  "all rights reserved",
                                  "sent from my iphone",
                                  "click here to unsubscribe",
                                  "unsubscribe from",
                                  "this email and any attachments",
                                  "your call is important to us",
                                  "自动回复",
                                  "自動回覆",
                                  "系统自动发送",
                                  "请勿回复",
                                  "請勿回覆",
                                  "版权所有",
                                  "版權所有",
                                  "请对我的服务进行评价",
                                  "请对本次服务",
                                  "请为本次服务",
                                  "转人工请按",
                                  "人工服务请按"};
  return phrases;
}

// Lower case, without white space and ASCII and CJK punctuation.
std::string bare(std::string_view text) {
  std::string out;
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const at = p;
    const uint32_t c = next_code_point(p);
    if ((character_classes()[c] & (kLetter | kNumber)) == 0) continue;
    if (c < 0x80) {
      out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
    } else {
      out.append(at, p);
    }
  }
  return out;
}

bool is_greeting(std::string_view text) {
  static const std::unordered_set<std::string> greetings = {"",
                                                            "hi",
                                                            "hello",
                                                            "hey",
                                                            "hithere",
                                                            "hellothere",
                                                            "goodmorning",
                                                            "goodafternoon",
                                                            "goodevening",
                                                            "thanks",
                                                            "thankyou",
                                                            "thx",
                                                            "ok",
                                                            "okay",
                                                            "yes",
                                                            "no",
                                                            "bye",
                                                            "goodbye",
                                                            "test",
                                                            "你好",
                                                            "您好",
                                                            "在吗",
                                                            "在么",
                                                            "在不在",
                                                            "有人吗",
                                                            "亲",
                                                            "谢谢",
                                                            "谢谢你",
                                                            "谢谢您",
                                                            "多谢",
                                                            "好的",
                                                            "好",
                                                            "嗯",
                                                            "嗯嗯",
                                                            "哦",
                                                            "是的",
                                                            "不是",
                                                            "再见",
                                                            "拜拜",
                                                            "你好在吗",
                                                            "您好在吗",
                                                            "亲在吗",
                                                            "在嗎",
                                                            "謝謝",
                                                            "有人嗎",
                                                            "妳好",
                                                            "再見",
                                                            "喂",
                                                            "客服",
                                                            "人工",
                                                            "转人工",
                                                            "早上好",
                                                            "下午好",
                                                            "晚上好"};
  return text.size() <= 48 && greetings.contains(bare(text));
}

bool ends_sentence(uint32_t c) {
  static constexpr std::u32string_view kClosing = U"\"')]}>”’」』】）》〉*_`~…：:;；|";
  return is_terminal(c) || kClosing.find(static_cast<char32_t>(c)) != kClosing.npos;
}

bool identifier(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '.' ||
         c == ' ' || c == '-' || static_cast<unsigned char>(c) >= 0x80;
}

// Length of an identifier of at most 40 bytes at `i`, and `close` behind it; 0 when there is none.
size_t field_length(std::string_view text, size_t i, std::string_view close) {
  size_t k = i;
  while (k < text.size() && k - i < 40 && identifier(text[k])) ++k;
  return k > i && text.substr(k).starts_with(close) ? k - i + close.size() : 0;
}

}  // namespace

int count_placeholders(std::string_view text) {
  static const Phrases han = {"【姓名】",   "[姓名]",     "{姓名}",   "【客户姓名】",
                              "[客户姓名]", "【订单号】", "[订单号]", "{订单号}",
                              "【手机号】", "[手机号]",   "【电话】", "[电话号码]",
                              "【日期】",   "【地址】",   "[地址]",   "［姓名］"};
  auto found = static_cast<int>(han.count(text));
  for (size_t i = 0; i < text.size(); ++i) {
    size_t length = 0;
    if (text[i] == '{' && text.substr(i).starts_with("{{")) {
      length = field_length(text, i + 2, "}}");
    } else if (text[i] == '$' && text.substr(i).starts_with("${")) {
      length = field_length(text, i + 2, "}");
    } else if (text[i] == '[' || text[i] == '<') {
      // Two capitals at least, then capitals, digits, '_', ' ' and '\'': [NAME], [ORDER NUMBER], <NAME>.
      const char close = text[i] == '[' ? ']' : '>';
      size_t k = i + 1, capitals = 0;
      while (k < text.size() && k - i < 32 &&
             ((text[k] >= 'A' && text[k] <= 'Z') ||
              (capitals >= 2 && std::string_view("0123456789_ '").find(text[k]) != std::string_view::npos)))
        capitals += text[k] >= 'A' && text[k] <= 'Z', ++k;
      // An HTML tag in capitals is none, and so are [OK] and such of programs' logs.
      if (capitals >= 4 && k < text.size() && text[k] == close) length = k - i;
    }
    if (length == 0) continue;
    ++found;
    i += length;
  }
  return found;
}

bool is_truncated(std::string_view answer) {
  const std::string_view text = strip_right(answer);
  if (count_characters(text.substr(0, 160)) < 40) return false;  // a short answer may end anyhow
  size_t fences = 0;
  for (size_t i = text.find("```"); i != std::string_view::npos; i = text.find("```", i + 3)) ++fences;
  if (fences % 2 == 1) return true;
  const uint32_t last = last_code_point(text);
  static constexpr std::u32string_view kOpen = U",，、([{（「『《【“‘";
  if (kOpen.find(static_cast<char32_t>(last)) != kOpen.npos) return true;
  const char* before = previous_code_point(text.data() + text.size());
  const bool letter = (character_classes()[last] & kLetter) != 0;
  if (last == '-' && before > text.data()) {
    const uint32_t c = last_code_point(text.substr(0, static_cast<size_t>(before - text.data())));
    return (character_classes()[c] & kLetter) != 0;
  }
  if (!letter || ends_sentence(last)) return false;
  // In a word, in the last line, which has sentences with ends. (Signatures and lists stand in lines of their
  // own.)
  const std::string_view line = text.substr(text.rfind('\n') + 1);
  const char* p = line.data();
  int ends = 0;
  while (p < line.data() + line.size()) {
    const uint32_t c = next_code_point(p);
    const bool ascii_end = (c == '.' || c == '!' || c == '?') && p < line.data() + line.size() && *p == ' ';
    ends += ascii_end || c == 0x3002 || c == 0xFF01 || c == 0xFF1F;
  }
  const size_t after = line.find_last_of(".!?");
  // A name or a parting word after the last end is no half sentence.
  size_t words = 0;
  if (after != std::string_view::npos)
    words = static_cast<size_t>(std::count(line.begin() + static_cast<ptrdiff_t>(after), line.end(), ' '));
  return ends >= 2 && (after == std::string_view::npos || words >= 4);
}

ConversationQuality measure_conversation(const Conversation& conversation) {
  ConversationQuality q;
  q.turns = static_cast<float>(conversation.messages.size());
  double user_characters = 0, assistant_characters = 0, shortest = 0;
  double echoed = 0, repeated = 0, empty = 0, truncated = 0, refused = 0, answers = 0;
  bool greetings = true;
  std::unordered_set<uint64_t> seen;
  std::string_view question;
  for (const Message& message : conversation.messages) {
    const bool user = message.role == "user", assistant = message.role == "assistant";
    if (!user && !assistant) continue;
    const std::string_view text = strip_right(strip_left(message.content));
    const auto characters = static_cast<double>(count_characters(text));
    q.longest_turn = std::max(q.longest_turn, static_cast<float>(characters));
    q.boilerplate += static_cast<float>(boilerplate().count(text));
    if (user) {
      ++q.user_turns;
      user_characters += characters;
      greetings = greetings && is_greeting(text);
      question = text;
      continue;
    }
    ++answers;
    assistant_characters += characters;
    q.placeholders += static_cast<float>(count_placeholders(text));
    if (text.empty()) {
      empty += message.tool_calls.is_null();
      continue;
    }
    shortest = shortest == 0 ? characters : std::min(shortest, characters);
    echoed += text == question;
    if (characters >= 16) repeated += !seen.insert(xxh3_64(text)).second;
    truncated += is_truncated(text);
    refused += refusals().count(text) > 0;
  }
  q.assistant_turns = static_cast<float>(answers);
  q.shortest_answer = static_cast<float>(shortest);
  q.mean_answer = ratio(assistant_characters, answers);
  q.assistant_share = ratio(assistant_characters, assistant_characters + user_characters);
  q.echoed_answers = ratio(echoed, answers);
  q.repeated_answers = ratio(repeated, answers);
  q.empty_answers = ratio(empty, answers);
  q.truncated_answers = ratio(truncated, answers);
  q.refusals = ratio(refused, answers);
  q.unanswered = !conversation.messages.empty() && conversation.messages.back().role == "user" ? 1 : 0;
  q.greeting_only = q.user_turns > 0 && greetings ? 1 : 0;
  return q;
}

}  // namespace decant
