// Dates beside a word for birth: 1990年3月7日, 1990-03-07, 03/07/1990, March 7, 1990, 三月七日.
#include <array>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

constexpr std::array<std::u16string_view, 24> kMonths = {
    u"january",   u"february", u"march",    u"april",    u"may", u"june", u"july", u"august",
    u"september", u"october",  u"november", u"december", u"jan", u"feb",  u"mar",  u"apr",
    u"may",       u"jun",      u"jul",      u"aug",      u"sep", u"oct",  u"nov",  u"dec"};

// The end of a month's name at `i`, 0 when there is none.
size_t month_name(const PiiText& text, size_t i) {
  if (text.letter(i - 1)) return 0;
  for (const auto name : kMonths)
    if (text.starts(i, name) && !text.letter(i + name.size())) {
      const size_t end = i + name.size();
      return text[end] == u'.' ? end + 1 : end;
    }
  return 0;
}

struct Digits {
  int value = 0;
  size_t count = 0, end = 0;
};

Digits digits_at(const PiiText& text, size_t i) {
  Digits d{0, 0, i};
  while (text.digit(d.end) && d.count < 5) {
    d.value = d.value * 10 + (text[d.end++] - u'0');
    ++d.count;
  }
  return d;
}

bool year_fits(int year) { return year >= 1880 && year <= 2039; }

size_t skip_spaces(const PiiText& text, size_t i) {
  size_t k = i;
  while (text.space(k) && k < i + 2) ++k;
  return k;
}

size_t numeric_date(const PiiText& text, size_t i) {
  const Digits first = digits_at(text, i);
  const size_t mark = skip_spaces(text, first.end);
  const char16_t c = text[mark];
  if (c == u'年' && (first.count == 2 || (first.count == 4 && year_fits(first.value)))) {
    const Digits month = digits_at(text, skip_spaces(text, mark + 1));
    if (month.count == 0) return first.count == 4 ? mark + 1 : 0;
    const size_t m = skip_spaces(text, month.end);
    if (month.value < 1 || month.value > 12 || text[m] != u'月') return 0;
    const Digits day = digits_at(text, skip_spaces(text, m + 1));
    if (day.count == 0 || day.value < 1 || day.value > 31) return m + 1;
    const size_t d = skip_spaces(text, day.end);
    return text[d] == u'日' || text[d] == u'号' || text[d] == u'號' ? d + 1 : day.end;
  }
  if (c == u'月' && first.count <= 2 && first.value >= 1 && first.value <= 12) {
    const Digits day = digits_at(text, skip_spaces(text, mark + 1));
    const size_t d = skip_spaces(text, day.end);
    return day.count > 0 && day.value >= 1 && day.value <= 31 &&
                   (text[d] == u'日' || text[d] == u'号' || text[d] == u'號')
               ? d + 1
               : 0;
  }
  if (mark == first.end && (c == u'-' || c == u'/' || c == u'.')) {
    const Digits second = digits_at(text, mark + 1);
    if (second.count == 0 || second.count > 2) return 0;
    if (text[second.end] != c) return 0;
    const Digits third = digits_at(text, second.end + 1);
    if (third.count == 0 || text.digit(third.end)) return 0;
    if (first.count == 4)
      return year_fits(first.value) && pii_date_exists(first.value, second.value, third.value) &&
                     third.count <= 2
                 ? third.end
                 : 0;
    if (first.count > 2 || (third.count != 4 && third.count != 2)) return 0;
    const int year = third.count == 4 ? third.value : 1900 + third.value;
    return year_fits(year) && (pii_date_exists(year, first.value, second.value) ||
                               pii_date_exists(year, second.value, first.value))
               ? third.end
               : 0;
  }
  // 7 March 1990, 7th of March, 1990
  if (first.count <= 2 && first.value >= 1 && first.value <= 31) {
    size_t k = first.end;
    for (const std::u16string_view ending : {u"st", u"nd", u"rd", u"th"})
      if (text.starts(k, ending)) k += 2;
    k = skip_spaces(text, k);
    if (text.starts(k, u"of ")) k += 3;
    const size_t month = month_name(text, k);
    if (month == 0) return 0;
    k = month;
    if (text[k] == u',') ++k;
    const Digits year = digits_at(text, skip_spaces(text, k));
    return year.count == 4 && year_fits(year.value) ? year.end : month;
  }
  return 0;
}

bool chinese_digit(char16_t c) {
  static constexpr std::u16string_view digits = u"〇零一二三四五六七八九十廿卅○0123456789";
  return digits.find(c) != std::u16string_view::npos;
}

}  // namespace

void find_birth_date(const PiiText& text, size_t i, PiiFindings& out) {
  if (text[i - 1] == u'.' || text[i - 1] == u'/' || (text[i - 1] == u'-' && text.alnum(i - 2)) ||
      text.letter(i - 1))
    return;
  // The rest of a date whose year does not fit.
  if (text[i - 1] == u'年' || (text.space(i - 1) && text[i - 2] == u'年')) return;
  size_t begin = i, end = numeric_date(text, i);
  if (end == 0) {  // March 7, 1990; 19900307
    size_t k = i;
    while (k > 0 && (text.space(k - 1) || text[k - 1] == u'.') && i - k < 2) --k;
    size_t word = k;
    while (word > 0 && text.letter(word - 1) && k - word < 10) --word;
    if (k > word && month_name(text, word) != 0) {
      const Digits day = digits_at(text, i);
      if (day.count <= 2 && (day.value < 1 || day.value > 31)) return;
      if (day.count > 2 && !(day.count == 4 && year_fits(day.value))) return;
      size_t d = day.end;
      for (const std::u16string_view ending : {u"st", u"nd", u"rd", u"th"})
        if (text.starts(d, ending)) d += 2;
      end = d;
      if (text[d] == u',') ++d;
      const Digits year = digits_at(text, skip_spaces(text, d));
      if (day.count <= 2 && year.count == 4 && year_fits(year.value)) end = year.end;
      begin = word;
    } else {
      size_t e = i;
      int year = 0, rest = 0;
      while (text.digit(e) && e < i + 9) {
        (e < i + 4 ? year : rest) = (e < i + 4 ? year : rest) * 10 + (text[e] - u'0');
        ++e;
      }
      if (e != i + 8 || !year_fits(year) || !pii_date_exists(year, rest / 100, rest % 100) || text.alnum(e))
        return;
      end = e;
    }
  }
  if (text.digit(end)) return;
  const PiiContext c = pii_context(text, begin, end);
  const bool born_behind = text[end] == u'生' && !text.starts(end, u"生产") && !text.starts(end, u"生效") &&
                           !text.starts(end, u"生鲜");
  if (c.label == PiiTopic::kBirth || c.after == PiiTopic::kBirth || born_behind) {
    out.add(PiiKind::kBirthDate, begin, end, 0.85f, text.ascii(begin, end));
  } else if (c.distance[static_cast<size_t>(PiiTopic::kBirth)] <= 12 && c.label != PiiTopic::kOrder &&
             c.label != PiiTopic::kMoney) {
    for (size_t k = begin; k > 0 && begin - k < 12; --k)
      if (text[k - 1] == u',' || text[k - 1] == u'、' || text[k - 1] == u'\n') return;
    out.add(PiiKind::kBirthDate, begin, end, 0.6f, text.ascii(begin, end));
  }
}

// 出生三月七号, 生日：一九九〇年三月七日
void find_spelled_birth_date(const PiiText& text, const PiiWord& label, PiiFindings& out) {
  const size_t begin = pii_after_label(text, label.end);
  size_t k = begin;
  if (text.starts(k, u"农历") || text.starts(k, u"阳历")) k += 2;
  const size_t first = k;
  bool month = false, spelled = false;
  size_t end = 0;
  while (k < first + 20) {
    const char16_t c = text[k];
    if (c == u'正' || c == u'腊' || c == u'初' || chinese_digit(c)) {
      spelled = spelled || !text.digit(k);
      ++k;
    } else if (c == u'年' && k > first && !month) {
      ++k;
    } else if (c == u'月' && k > first && !month) {
      month = true;
      ++k;
      end = k;
    } else if ((c == u'日' || c == u'号' || c == u'號') && month) {
      end = k + 1;
      break;
    } else {
      if (month) end = k;
      break;
    }
  }
  if (month && spelled && end > first) out.add(PiiKind::kBirthDate, first, end, 0.8f, text.ascii(first, end));
}

}  // namespace decant
