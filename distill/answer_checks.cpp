#include "distill/answer_checks.h"

#include <algorithm>

namespace decant {

const char* answer_fault_name(AnswerFault fault) {
  switch (fault) {
    case AnswerFault::kNone:
      return "none";
    case AnswerFault::kTruncated:
      return "truncated";
    case AnswerFault::kEmpty:
      return "empty";
    case AnswerFault::kRepetition:
      return "repetition";
  }
  return "none";
}

bool ends_in_a_loop(const std::vector<int64_t>& ids) {
  const size_t n = ids.size();
  for (size_t period = 1; period <= 64; ++period) {
    const size_t span = std::max<size_t>(16, 4 * period);
    if (span > n) return false;
    size_t same = period;  // ids from the end that equal those one period before
    while (same < span && ids[n - same - 1] == ids[n - same - 1 + period]) ++same;
    if (same == span) return true;
  }
  return false;
}

AnswerFault check_answer(const std::vector<int64_t>& ids, bool stopped, const std::string& text) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return AnswerFault::kEmpty;
  std::vector<int64_t> body = ids;
  if (stopped && !body.empty()) body.pop_back();
  if (ends_in_a_loop(body)) return AnswerFault::kRepetition;
  return stopped ? AnswerFault::kNone : AnswerFault::kTruncated;
}

}  // namespace decant
