#include "data_pipeline/jinja/template.h"

#include <algorithm>
#include <cstdio>

#include "data_pipeline/jinja/nodes.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;
constexpr ptrdiff_t kStackBytes = ptrdiff_t{1} << 20;

}  // namespace

Template::Template(std::string_view text, const std::string& where) {
  check(text.size() <= kMaxTemplateBytes, where, ": a chat template of ", text.size(), " bytes, at most ",
        kMaxTemplateBytes);
  check(valid_utf8_prefix(text) == text.size(), where, ": the chat template is not UTF-8");
  try {
    program_ = compile(text);
  } catch (const Error& e) {
    fail(where, ": ", e.what());
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

const std::vector<std::string>& Template::variables() const { return program_->variables; }

int64_t Template::variable(std::string_view name) const {
  const auto& names = program_->variables;
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : found - names.begin();
}

bool Template::has_generation() const { return program_->has_generation; }

Rendering Template::render(Arena& arena, const Value* variables, const Clock& clock,
                           const Limits& limits) const {
  Rendering out;
  State state{arena, *program_, variables, clock};
  state.sink = &state.root;
  state.steps = limits.steps;
  state.max_bytes = limits.memory_bytes;
  state.stack_floor = static_cast<const char*>(__builtin_frame_address(0)) - kStackBytes;
  state.generations = &out.generations;
  auto* slots = arena.array<Value>(program_->slots);
  for (uint32_t i = 0; i < program_->slots; ++i) slots[i] = missing();
  Frame* frame = arena.make<Frame>(slots, nullptr);
  state.top = frame;
  try {
    enter(program_->inits, state, *frame);
    run_all(program_->body, state, *frame);
    check(state.root.bytes <= limits.memory_bytes, "the template writes more than ",
          limits.memory_bytes >> 20, " MiB");
  } catch (const Error& e) {
    fail("line ", state.line, ": ", e.what());
  }
  out.pieces = state.root.pieces;
  out.count = state.root.count;
  out.bytes = state.root.bytes;
  return out;
}

Value from_json(Arena& arena, const Json& json, Source source) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return boolean(json.get<bool>(), source);
    case Json::value_t::number_integer:
      return integer(json.get<int64_t>(), source);
    case Json::value_t::number_unsigned: {
      const auto n = json.get<uint64_t>();
      if (n <= INT64_MAX) return integer(static_cast<int64_t>(n), source);
      Value big = tagged(Tag::kBigInt, source);
      big.text = copy_text(arena, std::to_string(n), source);
      return big;
    }
    case Json::value_t::number_float:
      return real(json.get<double>(), source);
    case Json::value_t::string:
      return text(make_text(arena, json.get_ref<const std::string&>(), source));
    case Json::value_t::array: {
      Value* items = arena.array<Value>(json.size());
      size_t i = 0;
      for (const Json& child : json) items[i++] = from_json(arena, child, source);
      return list_value(make_list(arena, items, json.size(), source));
    }
    case Json::value_t::object: {
      DictBuilder out(arena, json.size());
      for (const auto& [key, child] : json.items())
        out.append(text(make_text(arena, key, source)), from_json(arena, child, source));
      return dict_value(out.finish(source));
    }
    default:
      return tagged(Tag::kNone, source);
  }
}

Clock parse_clock(const std::string& text) {
  Clock c;
  char rest = 0;
  const int n = std::sscanf(text.c_str(), "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d%c", &c.year, &c.month, &c.day,
                            &c.hour, &c.minute, &c.second, &rest);
  static constexpr int kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool ok = (n == 3 || n == 5 || n == 6) && c.year >= 1 && c.month >= 1 && c.month <= 12 &&
                  c.day >= 1 && c.day <= kDays[c.month - 1] && c.hour >= 0 && c.hour < 24 && c.minute >= 0 &&
                  c.minute < 60 && c.second >= 0 && c.second < 60 && (n != 3 || text.size() == 10);
  check(ok, "a date must be YYYY-MM-DD or YYYY-MM-DD HH:MM, found '", text, "'");
  return c;
}

}  // namespace decant::jinja
