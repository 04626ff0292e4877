#include "data_pipeline/turn_spans.h"

#include <algorithm>

namespace decant {

namespace {

bool is_target(const RenderedPiece& p, int64_t message) {
  const Origin o = p.origin;
  return p.message == message && (p.turn == message || p.turn < 0) &&
         (o == Origin::kContent || o == Origin::kReasoning || o == Origin::kToolCalls);
}

// The assistant message that a piece was written for, or -1.
int64_t owner(const RenderedPiece& p, const std::vector<uint8_t>& is_assistant) {
  const int64_t m = p.message;
  if (m >= 0 && is_assistant[static_cast<size_t>(m)] != 0 && is_target(p, m)) return m;
  return p.turn >= 0 && is_assistant[static_cast<size_t>(p.turn)] != 0 ? p.turn : -1;
}

std::string_view stripped(std::string_view s) {
  const auto space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!s.empty() && space(s.front())) s.remove_prefix(1);
  while (!s.empty() && space(s.back())) s.remove_suffix(1);
  return s;
}

// Length of the common beginning that cuts no control token.
size_t common_header(std::string_view a, std::string_view b) {
  size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  if (n == a.size() || n == 0) return n;
  while (n > 0 && (static_cast<unsigned char>(a[n]) & 0xC0) == 0x80) --n;
  const size_t open = n == 0 ? a.npos : a.rfind('<', n - 1);
  const size_t close = open == a.npos ? a.npos : a.find('>', open);
  return open != a.npos && close != a.npos && close >= n ? open : n;
}

}  // namespace

std::string_view find_control_token(std::string_view text, std::string_view eos) {
  size_t at_eos = eos.empty() ? text.npos : text.find(eos);
  const auto bars = [&](std::string_view open, std::string_view close) -> std::string_view {
    const size_t from = text.find(open);
    if (from == text.npos || from >= at_eos) return {};
    const size_t to = text.find(close, from + open.size());
    if (to == text.npos || to - from > 80) return {};
    return text.substr(from, to + close.size() - from);
  };
  std::string_view best = at_eos != text.npos ? text.substr(at_eos, eos.size()) : std::string_view();
  for (const auto found : {bars("<|", "|>"), bars("<｜", "｜>")})
    if (!found.empty() && (best.empty() || found.data() < best.data())) best = found;
  if (!best.empty()) return best;
  const size_t from = text.find('<');
  const size_t to = from == text.npos ? text.npos : text.find('>', from);
  if (to == text.npos || to - from > 80 || text.substr(from, to - from).find_first_of(" \n") != text.npos)
    return {};
  return text.substr(from, to + 1 - from);
}

std::vector<PlainTurn> plain_turns(std::string_view text, const std::vector<RenderedPiece>& pieces,
                                   const std::vector<uint8_t>& is_assistant) {
  std::vector<PlainTurn> turns;
  for (size_t k = 0; k < pieces.size(); ++k) {
    const int64_t m = pieces[k].message;
    if (pieces[k].origin != Origin::kContent || m < 0 || is_assistant[static_cast<size_t>(m)] == 0) continue;
    const auto joins = [&](const RenderedPiece& p, bool before) {
      const bool markup = p.origin == Origin::kTemplate || p.origin == Origin::kRole;
      return markup && (p.turn == m || (p.turn < 0 && (!before || pieces[k].turn < 0)));
    };
    size_t first = k, last = k + 1;
    while (first > 0 && joins(pieces[first - 1], true)) --first;
    while (last < pieces.size() && joins(pieces[last], false)) ++last;
    const size_t begin = pieces[first].begin, end = last < pieces.size() ? pieces[last].begin : text.size();
    turns.push_back({std::string(text.substr(begin, pieces[k].begin - begin)),
                     std::string(text.substr(pieces[k].end, end - pieces[k].end))});
  }
  return turns;
}

namespace {

class Finder {
 public:
  Finder(std::string_view text, const std::vector<RenderedPiece>& pieces,
         const std::vector<uint8_t>& is_assistant, const std::vector<std::string_view>& contents,
         const TurnMarks& marks, std::string_view eos, bool generation_prompt, std::vector<TurnSpan>& spans)
      : text_(text),
        pieces_(pieces),
        is_assistant_(is_assistant),
        contents_(contents),
        marks_(marks),
        eos_(eos),
        spans_(spans) {
    text_end_ = text.size();
    if (generation_prompt && !marks.generation_prompt.empty() && text.ends_with(marks.generation_prompt))
      text_end_ -= marks.generation_prompt.size();
  }

  void run() {
    for (size_t k = 0; k < pieces_.size();) {
      const int64_t message = owner(pieces_[k], is_assistant_);
      if (message < 0) {
        ++k;
        continue;
      }
      size_t end = k + 1, last_own = k + 1;
      while (end < pieces_.size()) {
        const int64_t o = owner(pieces_[end], is_assistant_);
        if (o == message)
          last_own = end + 1;
        else if (o >= 0 || pieces_[end].turn >= 0 || !pieces_[end].from_template())
          break;
        ++end;
      }
      // Template text that no loop accounts for may stand between two pieces of one turn.
      turn(message, k, last_own, end);
      k = last_own;
    }
  }

 private:
  size_t begin_of(size_t k) const { return k < pieces_.size() ? pieces_[k].begin : text_.size(); }

  // The longest header that the lead begins with, else what it has in common with one.
  size_t header_size(std::string_view lead) const {
    size_t best = 0;
    for (const std::string& h : marks_.headers)
      if (lead.starts_with(h)) best = std::max(best, h.size());
    if (best > 0) return best;
    for (const std::string& h : marks_.headers) best = std::max(best, common_header(lead, h));
    return best;
  }

  // Where a turn's own words begin: at its first piece, or before it, where the template wrote the opening
  // tag of its reasoning or tool call.
  size_t start(size_t lead_begin, const RenderedPiece& p, bool known_turn) const {
    const size_t at = p.begin;
    const std::string_view lead = text_.substr(lead_begin, at - lead_begin);
    if (p.origin == Origin::kContent) {
      if (p.offset <= 0) return at;
      // The message's own "<think>", cut off and written again by the template.
      const std::string_view before =
          stripped(contents_[static_cast<size_t>(p.message)].substr(0, static_cast<size_t>(p.offset)));
      if (before.empty() || before.size() > 64) return at;
      const size_t found = lead.rfind(before);
      if (found == lead.npos || !stripped(lead.substr(found + before.size())).empty()) return at;
      return lead_begin + found;
    }
    constexpr std::string_view kThink = "<think>";
    if (p.origin == Origin::kReasoning && stripped(lead).ends_with(kThink) &&
        !stripped(marks_.generation_prompt).ends_with(kThink))
      return lead_begin + lead.rfind(kThink);  // the model writes the tag, unless the prompt does
    if (known_turn) return lead_begin + header_size(lead);
    size_t best = lead.size();
    bool any = false;
    for (const std::string& h : marks_.headers) {
      const size_t found = h.empty() ? lead.npos : lead.rfind(h);
      if (found == lead.npos) continue;
      best = any ? std::min(best, lead.size() - found - h.size()) : lead.size() - found - h.size();
      any = true;
    }
    return any ? at - best : at;
  }

  // Template text back to the last piece that is not markup.
  size_t markup_begin(size_t k) const {
    while (k > 0 && (pieces_[k - 1].from_template())) --k;
    return begin_of(k);
  }

  size_t find_end(size_t from, size_t to) const {
    const std::string_view part = text_.substr(from, to - from);
    if (!marks_.end.empty()) {
      const size_t found = part.find(marks_.end);
      if (found != part.npos) return from + found + marks_.end.size();
    }
    if (!eos_.empty()) {
      const size_t found = part.find(eos_);
      if (found != part.npos) return from + found + eos_.size();
    }
    return 0;
  }

  void add(int64_t message, size_t begin, size_t end, bool closed) {
    if (begin < end) spans_.push_back({{begin, end}, message, closed});
  }

  // Pieces [first, own_end) are the turn's; up to `end` template text follows that no message owns.
  void turn(int64_t message, size_t first, size_t own_end, size_t end) {
    const bool known_turn = pieces_[first].turn == message;
    size_t open = 0, last = 0;  // of the segment under way
    bool inside = false, closed = false;
    size_t lead_begin = known_turn ? begin_of(first) : markup_begin(first);
    for (size_t k = first; k < own_end; ++k) {
      if (!is_target(pieces_[k], message)) continue;
      // A template that writes an empty answer behind a closed tool call has nothing to teach there.
      if (!inside && closed && pieces_[k].begin == pieces_[k].end) continue;
      if (inside) {
        if (const size_t close = find_end(last, pieces_[k].begin)) {
          add(message, open, close, true);
          inside = false;
          closed = true;
          lead_begin = close;
          if (pieces_[k].begin == pieces_[k].end) continue;
        }
      }
      if (!inside) {
        open = start(lead_begin, pieces_[k], known_turn);
        inside = true;
      }
      last = pieces_[k].end;
    }
    const size_t own = begin_of(own_end), all = std::min(begin_of(end), std::max(text_end_, own));
    if (!inside && closed) return;
    if (!inside) {
      // Nothing said: the end of turn alone, where the turn was written at all.
      const size_t close = find_end(begin_of(first), own);
      if (close != 0) {
        const size_t size = text_.substr(0, close).ends_with(marks_.end) && !marks_.end.empty()
                                ? marks_.end.size()
                                : eos_.size();
        add(message, close - size, close, true);
      }
      return;
    }
    if (const size_t close = find_end(last, own)) return add(message, open, close, true);
    if (const size_t close = find_end(last, all)) return add(message, open, close, true);
    // No control token: what the template wrote for this turn after its words.
    if (known_turn && own > last) return add(message, open, own, true);
    add(message, open, last, false);
    if (open == last) spans_.push_back({{open, last}, message, false});
  }

  std::string_view text_;
  const std::vector<RenderedPiece>& pieces_;
  const std::vector<uint8_t>& is_assistant_;
  const std::vector<std::string_view>& contents_;
  const TurnMarks& marks_;
  std::string_view eos_;
  std::vector<TurnSpan>& spans_;
  size_t text_end_ = 0;
};

}  // namespace

void find_turn_spans(std::string_view text, const std::vector<RenderedPiece>& pieces,
                     const std::vector<uint8_t>& is_assistant, const std::vector<std::string_view>& contents,
                     const TurnMarks& marks, std::string_view eos, bool generation_prompt,
                     std::vector<TurnSpan>& spans) {
  spans.clear();
  Finder(text, pieces, is_assistant, contents, marks, eos, generation_prompt, spans).run();
}

}  // namespace decant
