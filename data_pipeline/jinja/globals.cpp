// The functions that every template sees.
#include <algorithm>
#include <cstdio>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"

namespace decant::jinja {

namespace {

constexpr int64_t kMaxRange = 100000;  // jinja2's sandbox

Value range_function(const Call& c) {
  if (c.all.num_keywords != 0) fail("range() takes no keyword arguments");
  if (c.all.count < 1 || c.all.count > 3) fail("range expected 1 to 3 arguments, got ", c.all.count);
  int64_t n[3] = {0, 0, 1};
  for (uint32_t i = 0; i < c.all.count; ++i) {
    const auto index = as_index(c.all.values[i]);
    if (!index) {
      if (c.all.values[i].is(Tag::kUndefined)) fail_undefined(c.all.values[i]);
      fail("'", type_name(c.all.values[i]), "' object cannot be interpreted as an integer");
    }
    n[c.all.count == 1 ? 1 : i] = *index;
  }
  if (n[2] == 0) fail("range() arg 3 must not be zero");
  if (std::abs(n[0] / 2) > (int64_t{1} << 61) || std::abs(n[1] / 2) > (int64_t{1} << 61) || n[2] == INT64_MIN)
    fail("a range beyond 62 bits");
  int64_t count = 0;
  if (n[2] > 0 && n[0] < n[1]) count = (n[1] - n[0] - 1) / n[2] + 1;
  if (n[2] < 0 && n[0] > n[1]) count = (n[0] - n[1] - 1) / -n[2] + 1;
  if (count > kMaxRange)
    fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (", kMaxRange, ").");
  Value v = tagged(Tag::kRange);
  v.range = c.arena().make<Range>(n[0], n[1], n[2], count);
  return v;
}

// dict(mapping or pairs, **more), the entries of namespace() too.
void dict_arguments(const Call& c, DictBuilder& out) {
  if (c.all.count > 1) fail("dict expected at most 1 argument, got ", c.all.count);
  if (c.all.count == 1) {
    const Value& from = c.all.values[0];
    if (from.is(Tag::kDict)) {
      for (uint32_t i = 0; i < from.dict->count; ++i)
        out.set(from.dict->entries[i].key, from.dict->entries[i].value);
    } else {
      Walk walk(c.state, from);
      Value pair;
      while (walk.next(pair)) {
        c.state.step();
        const List* two = to_list(c.state, pair);
        if (two->count != 2)
          fail("dictionary update sequence element has length ", two->count, "; 2 is required");
        out.set(two->items[0], two->items[1]);
      }
    }
  }
  for (uint32_t k = 0; k < c.all.num_keywords; ++k)
    out.set(text(c.all.keywords[k].name), c.all.keywords[k].value);
}

Value dict_function(const Call& c) {
  DictBuilder out(c.arena());
  dict_arguments(c, out);
  return dict_value(out.finish());
}

Value namespace_function(const Call& c) {
  DictBuilder builder(c.arena());
  dict_arguments(c, builder);
  const Dict* dict = builder.finish();
  Namespace* names =
      c.arena().make<Namespace>(c.arena().array<Entry>(dict->count + 8u), 0u, dict->count + 8u);
  for (uint32_t i = 0; i < dict->count; ++i) {
    const Entry& e = dict->entries[i];
    if (!e.key.is_text()) continue;  // no attribute can name it
    if (flat(c.arena(), *e.key.text).starts_with('_'))
      fail("Chat templates cannot store underscore-prefixed attributes on a namespace");
    names->entries[names->count++] = e;
  }
  Value v = tagged(Tag::kNamespace);
  v.names = names;
  return v;
}

Value raise_exception(const Call& c) {
  // What people wrote stays out of error texts.
  const Str* message = to_text(c.state, c.args[0]);
  std::string words;
  for (uint32_t i = 0; i < message->count; ++i) {
    if (message->pieces[i].source == kTemplate)
      words += message->pieces[i].view();
    else if (!words.ends_with("..."))
      words += "...";
  }
  fail("the template says: ", words);
}

Value cycler_function(const Call& c) {
  if (c.all.count == 0) fail("at least one item has to be provided");
  Namespace* names = c.arena().make<Namespace>(c.arena().array<Entry>(c.all.count), 0u, c.all.count);
  for (uint32_t i = 0; i < c.all.count; ++i) names->entries[i] = {none(), c.all.values[i]};
  Value v = tagged(Tag::kCycler);
  v.names = names;
  return v;
}

Value joiner_function(const Call& c) {
  Entry* separator = c.arena().array<Entry>(1);
  *separator = {none(), c.given(0) ? c.args[0] : text(make_text(c.arena(), ", "))};
  Value v = tagged(Tag::kJoiner);
  v.names = c.arena().make<Namespace>(separator, 0u, 1u);
  return v;
}

Value lipsum(const Call&) { fail("lipsum() is random, and a rendering must not be"); }

constexpr const char* kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                 "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                   "July",    "August",   "September", "October", "November", "December"};

int day_of_week(const Clock& t) {  // 0: Sunday (Sakamoto)
  static constexpr int kShift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
  const int y = t.month < 3 ? t.year - 1 : t.year;
  return (y + y / 4 - y / 100 + y / 400 + kShift[t.month - 1] + t.day) % 7;
}

int day_of_year(const Clock& t) {  // 1: January 1st
  static constexpr int kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  const bool leap = (t.year % 4 == 0 && t.year % 100 != 0) || t.year % 400 == 0;
  return kBefore[t.month - 1] + t.day + (leap && t.month > 2 ? 1 : 0);
}

std::string format_time(std::string_view format, const Clock& t);

std::string time_field(char f, bool plain, const Clock& t) {
  const int week_day = day_of_week(t), year_day = day_of_year(t),
            hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
  const auto number = [&](int value, int width) {
    char text[16];
    std::snprintf(text, sizeof text,
                  plain        ? "%d"
                  : width == 4 ? "%04d"
                  : width == 3 ? "%03d"
                               : "%02d",
                  value);
    return std::string(text);
  };
  const auto iso_week = [&](int& year) {
    const int day = week_day == 0 ? 7 : week_day;
    int week = (year_day - day + 10) / 7;
    year = t.year;
    const auto weeks_in = [](int y) {
      const auto p = [](int x) { return (x + x / 4 - x / 100 + x / 400) % 7; };
      return p(y) == 4 || p(y - 1) == 3 ? 53 : 52;
    };
    if (week < 1) week = weeks_in(--year);
    if (week > weeks_in(year)) week = 1, ++year;
    return week;
  };
  int year = t.year;
  switch (f) {
    case 'a':
      return std::string(kDays[week_day]).substr(0, 3);
    case 'A':
      return kDays[week_day];
    case 'b':
    case 'h':
      return std::string(kMonths[t.month - 1]).substr(0, 3);
    case 'B':
      return kMonths[t.month - 1];
    case 'c':
      return format_time("%a %b ", t) + (t.day < 10 ? " " : "") + std::to_string(t.day) +
             format_time(" %H:%M:%S %Y", t);
    case 'C':
      return number(t.year / 100, 2);
    case 'd':
      return number(t.day, 2);
    case 'D':
    case 'x':
      return format_time("%m/%d/%y", t);
    case 'e':
      return (t.day < 10 && !plain ? " " : "") + std::to_string(t.day);
    case 'F':
      return format_time("%Y-%m-%d", t);
    case 'f':
      return "000000";
    case 'G':
      iso_week(year);
      return std::to_string(year);
    case 'H':
      return number(t.hour, 2);
    case 'I':
      return number(hour12, 2);
    case 'j':
      return number(year_day, 3);
    case 'k':
      return (t.hour < 10 && !plain ? " " : "") + std::to_string(t.hour);
    case 'l':
      return (hour12 < 10 && !plain ? " " : "") + std::to_string(hour12);
    case 'm':
      return number(t.month, 2);
    case 'M':
      return number(t.minute, 2);
    case 'n':
      return "\n";
    case 'p':
      return t.hour < 12 ? "AM" : "PM";
    case 'P':
      return t.hour < 12 ? "am" : "pm";
    case 'r':
      return format_time("%I:%M:%S %p", t);
    case 'R':
      return format_time("%H:%M", t);
    case 'S':
      return number(t.second, 2);
    case 't':
      return "\t";
    case 'T':
    case 'X':
      return format_time("%H:%M:%S", t);
    case 'u':
      return std::to_string(week_day == 0 ? 7 : week_day);
    case 'U':
      return number((year_day + 6 - week_day) / 7, 2);
    case 'V':
      return number(iso_week(year), 2);
    case 'w':
      return std::to_string(week_day);
    case 'W':
      return number((year_day + 6 - (week_day + 6) % 7) / 7, 2);
    case 'y':
      return number(t.year % 100, 2);
    case 'Y':
      return std::to_string(t.year);
    case 'z':
    case 'Z':
      return "";
    case '%':
      return "%";
    default:
      return std::string("%") + f;
  }
}

std::string format_time(std::string_view format, const Clock& t) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    ++i;
    const bool plain = format[i] == '-' && i + 1 < format.size();
    if (plain) ++i;
    out += time_field(format[i], plain, t);
  }
  return out;
}

Value strftime_now(const Call& c) {
  if (c.state.clock.year == 0) fail("the template asks for today's date (strftime_now), and none was given");
  return text(
      copy_text(c.arena(), format_time(flat(c.arena(), c.text(0, "strftime() argument 1")), c.state.clock)));
}

const Function kGlobals[] = {
    {"range", "*", range_function, {}},           {"dict", "*", dict_function, {}},
    {"namespace", "*", namespace_function, {}},   {"raise_exception", "message", raise_exception, {}},
    {"strftime_now", "format", strftime_now, {}}, {"cycler", "*", cycler_function, {}},
    {"joiner", "sep?", joiner_function, {}},      {"lipsum", "*", lipsum, {}},
};

}  // namespace

Value find_global(std::string_view name) {
  for (const Function& f : kGlobals)
    if (name == f.name) {
      Value v = tagged(Tag::kFunction);
      v.function = &f;
      return v;
    }
  return missing();
}

}  // namespace decant::jinja
