// What is wrong with a teacher's answer, from its ids and text alone, so that the checks can be run again
// without the teacher.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace decant {

enum class AnswerFault {
  kNone,
  kTruncated,   // no stop token within the budget: usable, but its end teaches nothing about ending
  kEmpty,       // nothing but white space: not usable
  kRepetition,  // ends in a loop: not usable
};
const char* answer_fault_name(AnswerFault fault);  // "none", "truncated", "empty", "repetition"
inline bool usable(AnswerFault fault) {
  return fault == AnswerFault::kNone || fault == AnswerFault::kTruncated;
}

// `ids` as generated (with the stop token, if any, as last), `text` decoded without special tokens.
AnswerFault check_answer(const std::vector<int64_t>& ids, bool stopped, const std::string& text);

// Whether the ids end in a loop: a period of 1 .. 64 ids that fills at least the last 16 ids and at least
// four times its length.
bool ends_in_a_loop(const std::vector<int64_t>& ids);

}  // namespace decant
