#include "data_pipeline/jinja/operators.h"

#include <cmath>

#include "data_pipeline/jinja/show.h"

namespace decant::jinja {

namespace {

constexpr const char* kOpNames[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

bool is_number(const Value& v) { return v.is(Tag::kInt) || v.is(Tag::kFloat) || v.is(Tag::kBool); }
bool is_whole(const Value& v) { return v.is(Tag::kInt) || v.is(Tag::kBool); }
double as_double(const Value& v) { return v.is(Tag::kFloat) ? v.real : static_cast<double>(v.integer); }

[[noreturn]] void overflow() { fail("an integer beyond 64 bits"); }

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == -1) {
    if (a == INT64_MIN) overflow();
    return -a;
  }
  const int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

int64_t floor_modulo(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

// Python's float %: the sign of the divisor.
double float_modulo(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0) {
    if ((b < 0) != (r < 0)) r += b;
  } else {
    r = std::copysign(0.0, b);
  }
  return r;
}

double float_floor_divide(double a, double b) {
  const double r = std::fmod(a, b);
  double q = (a - r) / b;
  if (r != 0 && (b < 0) != (r < 0)) q -= 1;
  if (q == 0) return std::copysign(0.0, a / b);
  const double whole = std::floor(q);
  return q - whole > 0.5 ? whole + 1 : whole;
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

Value whole_numbers(Op op, int64_t a, int64_t b) {
  int64_t r = 0;
  switch (op) {
    case Op::kAdd:
      if (__builtin_add_overflow(a, b, &r)) overflow();
      return integer(r);
    case Op::kSubtract:
      if (__builtin_sub_overflow(a, b, &r)) overflow();
      return integer(r);
    case Op::kMultiply:
      if (__builtin_mul_overflow(a, b, &r)) overflow();
      return integer(r);
    case Op::kDivide:
      if (b == 0) fail("division by zero");
      return real(static_cast<double>(a) / static_cast<double>(b));
    case Op::kFloorDivide:
      if (b == 0) fail("integer division or modulo by zero");
      return integer(floor_divide(a, b));
    case Op::kModulo:
      if (b == 0) fail("integer modulo by zero");
      return integer(floor_modulo(a, b));
    case Op::kPower:
      if (b >= 0) return integer(power(a, b));
      if (a == 0) fail("0.0 cannot be raised to a negative power");
      return real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  return {};
}

Value floats(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return real(a + b);
    case Op::kSubtract:
      return real(a - b);
    case Op::kMultiply:
      return real(a * b);
    case Op::kDivide:
      if (b == 0) fail("float division by zero");
      return real(a / b);
    case Op::kFloorDivide:
      if (b == 0) fail("float floor division by zero");
      return real(float_floor_divide(a, b));
    case Op::kModulo:
      if (b == 0) fail("float modulo");
      return real(float_modulo(a, b));
    case Op::kPower: {
      if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && std::isfinite(b) && b != std::floor(b)) fail("a complex number");
      const double r = std::pow(a, b);
      if (std::isinf(r) && std::isfinite(a) && std::isfinite(b))
        fail("(34, 'Numerical result out of range')");
      return real(r);
    }
  }
  return {};
}

Value repeat(State& state, const Value& what, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (what.is_text()) {
    const auto pieces = static_cast<uint64_t>(times) * what.text->count;
    if (times > (int64_t{1} << 31) || what.text->bytes * static_cast<uint64_t>(times) > (uint64_t{1} << 31))
      fail("a text is too long");
    state.step(pieces);
    TextBuilder out(state.arena);
    const std::string_view one = flat(state.arena, *what.text);
    if (one.size() <= 64 && source_of(*what.text) == kTemplate) {
      const auto all = one.size() * static_cast<size_t>(times);
      char* bytes = state.arena.text(all);
      for (size_t i = 0; i < all; ++i) bytes[i] = one[i % one.size()];
      out.add(Piece{bytes, static_cast<uint32_t>(all), kTemplate});
    } else {
      for (int64_t i = 0; i < times; ++i) out.add(*what.text);
    }
    return text(out.finish(what.text->markup));
  }
  const List& list = *what.list;
  if (times > (int64_t{1} << 31)) fail("a list is too long");
  const uint64_t count = static_cast<uint64_t>(times) * list.count;
  state.step(count);
  Value* items = state.arena.array<Value>(count);
  for (uint64_t i = 0; i < count; ++i) items[i] = list.items[i % list.count];
  return list_value(make_list(state.arena, items, count), what.tag);
}

bool is_list(const Value& v) { return v.is(Tag::kList) || v.is(Tag::kTuple); }

[[noreturn]] void unsupported(Op op, const Value& a, const Value& b) {
  if (op == Op::kAdd && a.is_text()) fail("can only concatenate str (not \"", type_name(b), "\") to str");
  if (op == Op::kAdd && is_list(a))
    fail("can only concatenate ", type_name(a), " (not \"", type_name(b), "\") to ", type_name(a));
  fail("unsupported operand type(s) for ", kOpNames[static_cast<int>(op)], ": '", type_name(a), "' and '",
       type_name(b), "'");
}

const Str* join_two(State& state, const Str& a, const Str& b) {
  TextBuilder out(state.arena);
  const bool markup = a.markup || b.markup;
  out.add(markup && !a.markup ? *escape_html(state, a) : a);
  out.add(markup && !b.markup ? *escape_html(state, b) : b);
  state.step(a.count + b.count);
  return out.finish(markup);
}

}  // namespace

Value binary(State& state, Op op, const Value& a, const Value& b) {
  if (op == Op::kAdd && a.is_text() && b.is_text()) return text(join_two(state, *a.text, *b.text));
  if (op == Op::kModulo && a.is_text()) return text(format_percent(state, *a.text, b));
  if (is_whole(a) && is_whole(b)) return whole_numbers(op, a.integer, b.integer);
  if (is_number(a) && is_number(b)) return floats(op, as_double(a), as_double(b));
  if (a.is(Tag::kUndefined)) fail_undefined(a);
  if (b.is(Tag::kUndefined)) fail_undefined(b);
  if (a.is(Tag::kBigInt) || b.is(Tag::kBigInt)) overflow();
  if (op == Op::kAdd && is_list(a) && a.tag == b.tag) {
    const List &x = *a.list, &y = *b.list;
    Value* items = state.arena.array<Value>(size_t{x.count} + y.count);
    std::copy(x.items, x.items + x.count, items);
    std::copy(y.items, y.items + y.count, items + x.count);
    state.step(x.count + y.count);
    return list_value(make_list(state.arena, items, size_t{x.count} + y.count), a.tag);
  }
  if (op == Op::kMultiply) {
    if ((a.is_text() || is_list(a)) && is_whole(b)) return repeat(state, a, b.integer);
    if ((b.is_text() || is_list(b)) && is_whole(a)) return repeat(state, b, a.integer);
  }
  unsupported(op, a, b);
}

Value negative(const Value& a) {
  if (is_whole(a)) {
    if (a.integer == INT64_MIN) overflow();
    return integer(-a.integer);
  }
  if (a.is(Tag::kFloat)) return real(-a.real);
  if (a.is(Tag::kUndefined)) fail_undefined(a);
  fail("bad operand type for unary -: '", type_name(a), "'");
}

Value positive(const Value& a) {
  if (is_whole(a)) return integer(a.integer);
  if (a.is(Tag::kFloat)) return a;
  if (a.is(Tag::kUndefined)) fail_undefined(a);
  fail("bad operand type for unary +: '", type_name(a), "'");
}

bool contains(State& state, const Value& container, const Value& wanted) {
  switch (container.tag) {
    case Tag::kString: {
      if (!wanted.is_text()) {
        if (wanted.is(Tag::kUndefined)) fail("'in <string>' requires string as left operand, not Undefined");
        fail("'in <string>' requires string as left operand, not ", type_name(wanted));
      }
      state.work(container.text->bytes);
      return flat(state.arena, *container.text).find(flat(state.arena, *wanted.text)) !=
             std::string_view::npos;
    }
    case Tag::kDict:
      return container.dict->find(wanted) != nullptr;
    case Tag::kRange: {
      const Range& r = *container.range;
      if (!is_number(wanted)) return false;
      if (wanted.is(Tag::kFloat) && wanted.real != std::floor(wanted.real)) return false;
      const double x = as_double(wanted);
      if (r.count == 0 || std::fabs(x) > 9e18) return false;
      const auto i = static_cast<int64_t>(x);
      const int64_t last = r.start + (r.count - 1) * r.step;
      return i >= std::min(r.start, last) && i <= std::max(r.start, last) && (i - r.start) % r.step == 0;
    }
    case Tag::kUndefined:
      return false;
    default: {
      if (!can_walk(container)) fail("argument of type '", type_name(container), "' is not iterable");
      Walk walk(state, container);
      Value v;
      while (walk.next(v)) {
        state.step();
        if (equal(v, wanted)) return true;
      }
      return false;
    }
  }
}

bool has_length(const Value& v) {
  switch (v.tag) {
    case Tag::kUndefined:
    case Tag::kString:
    case Tag::kList:
    case Tag::kTuple:
    case Tag::kDict:
    case Tag::kView:
    case Tag::kRange:
    case Tag::kLoop:
      return true;
    default:
      return false;
  }
}

int64_t length_of(State& state, const Value& v) {
  switch (v.tag) {
    case Tag::kUndefined:
      return 0;
    case Tag::kString:
      return length(*v.text);
    case Tag::kList:
    case Tag::kTuple:
      return v.list->count;
    case Tag::kDict:
      return v.dict->count;
    case Tag::kView:
      return v.view->items.count;
    case Tag::kRange:
      return v.range->count;
    case Tag::kLoop:
      return loop_length(state, *v.loop);
    default:
      fail("object of type '", type_name(v), "' has no len()");
  }
}

std::optional<int64_t> as_index(const Value& v) {
  if (is_whole(v)) return v.integer;
  return std::nullopt;
}

namespace {

Value undefined_of(State& state, const Value& object, const Value& key) {
  Value v = tagged(Tag::kUndefined);
  v.object = object.tag;
  const Str& name = key.is_text() ? *key.text : *repr(state, key);
  v.undefined = state.arena.make<UndefinedInfo>(flat(state.arena, name), std::string_view());
  return v;
}

Value unsafe(State& state, std::string_view name, const Value& object) {
  Value v = tagged(Tag::kUndefined);
  v.object = object.tag;
  const Str* hint = copy_text(
      state.arena, concat("access to attribute '", name, "' of '", type_name(object), "' object is unsafe."));
  v.undefined = state.arena.make<UndefinedInfo>(name, hint->only.view());
  return v;
}

Value method_value(State& state, const Builtin& method, const Value& object) {
  Value v = tagged(Tag::kFunction);
  v.function = state.arena.make<Function>(method.name, method.signature, method.call, object);
  return v;
}

// What Python's getattr gives.
bool python_attribute(State& state, const Value& object, std::string_view name, Value& found) {
  switch (object.tag) {
    case Tag::kLoop: {
      bool known = false;
      found = loop_attribute(state, *object.loop, name, known);
      return known;
    }
    case Tag::kNamespace:
      for (uint32_t i = 0; i < object.names->count; ++i)
        if (same_text(*object.names->entries[i].key.text, name)) {
          found = object.names->entries[i].value;
          return true;
        }
      return false;
    case Tag::kRange:
      if (name == "start" || name == "stop" || name == "step") {
        found = integer(name == "start"  ? object.range->start
                        : name == "stop" ? object.range->stop
                                         : object.range->step);
        return true;
      }
      break;
    case Tag::kTuple:
      if (object.list->fields != nullptr && (name == "grouper" || name == "list")) {
        found = object.list->items[name == "list" ? 1 : 0];
        return true;
      }
      break;
    case Tag::kInt:
    case Tag::kBool:
      if (name == "real" || name == "numerator" || name == "imag" || name == "denominator") {
        found = integer(name == "imag" ? 0 : name == "denominator" ? 1 : object.integer);
        return true;
      }
      break;
    case Tag::kFloat:
      if (name == "real" || name == "imag") {
        found = real(name == "real" ? object.real : 0.0);
        return true;
      }
      break;
    case Tag::kCycler:
      if (name == "current") {
        found = object.names->entries[object.names->count].value;
        return true;
      }
      break;
    case Tag::kMacro:
      return macro_attribute(state, *object.macro, name, found);
    case Tag::kFunction:
      if (name == "fromkeys" && std::string_view(object.function->name) == "dict") {
        static const Dict kEmpty{nullptr, 0, kTemplate, -1, 0, nullptr};
        found = method_value(state, *find_dict_method("fromkeys"), dict_value(&kEmpty));
        return true;
      }
      return false;
    default:
      break;
  }
  if (const Builtin* method = find_method(object, name)) {
    found = method_value(state, *method, object);
    return true;
  }
  return false;
}

bool by_key(State& state, const Value& object, const Value& key, Value& found) {
  switch (object.tag) {
    case Tag::kDict: {
      if (key.is(Tag::kList) || key.is(Tag::kDict)) return false;
      const Value* value = object.dict->find(key);
      if (value == nullptr) return false;
      found = *value;
      return true;
    }
    case Tag::kList:
    case Tag::kTuple:
    case Tag::kRange:
    case Tag::kString: {
      const auto index = as_index(key);
      if (!index) return false;
      const int64_t size = length_of(state, object);
      const int64_t i = *index < 0 ? *index + size : *index;
      if (i < 0 || i >= size) return false;
      if (object.is(Tag::kRange)) {
        found = integer(object.range->start + i * object.range->step);
      } else if (object.is_text()) {
        const std::string_view all = flat(state.arena, *object.text);
        const bool ascii = static_cast<int64_t>(all.size()) == size;
        const size_t begin = ascii ? static_cast<size_t>(i) : offset_of(all, i);
        const size_t end = ascii ? begin + 1 : begin + offset_of(all.substr(begin), 1);
        if (!ascii) state.work(begin);
        found = text(cut(state.arena, *object.text, begin, end));
      } else {
        found = object.list->items[i];
      }
      return true;
    }
    case Tag::kUndefined:
      fail_undefined(object);
    default:
      return false;
  }
}

}  // namespace

Value attribute(State& state, const Value& object, const Str& name, const UndefinedInfo* undefined) {
  if (object.is(Tag::kUndefined)) fail_undefined(object);
  Value found;
  const std::string_view plain = flat(state.arena, name);
  if (python_attribute(state, object, plain, found)) return found;
  if (is_unsafe(object, plain)) return unsafe(state, plain, object);
  if (object.is(Tag::kDict)) {
    if (const Value* value = object.dict->find(name)) return *value;
  }
  Value v = tagged(Tag::kUndefined);
  v.object = object.tag;
  v.undefined = undefined != nullptr ? undefined : state.arena.make<UndefinedInfo>(plain, std::string_view());
  return v;
}

Value item(State& state, const Value& object, const Value& key) {
  Value found;
  if (by_key(state, object, key, found)) return found;
  if (key.is_text()) {
    const std::string_view name = flat(state.arena, *key.text);
    if (python_attribute(state, object, name, found)) return found;
    if (is_unsafe(object, name)) return unsafe(state, name, object);
  }
  return undefined_of(state, object, key);
}

Value attribute_path(State& state, const Value& object, const Value& path) {
  if (path.is(Tag::kNone) || path.is(Tag::kMissing)) return object;
  if (!path.is_text()) return item(state, object, path);
  std::string_view rest = flat(state.arena, *path.text);
  size_t at = 0;
  Value value = object;
  while (true) {
    const size_t dot = std::min(rest.find('.', at), rest.size());
    const std::string_view part = rest.substr(at, dot - at);
    const bool digits =
        !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == part.npos;
    if (digits) {
      int64_t index = 0;
      for (const char c : part) index = index * 10 + (c - '0');
      value = item(state, value, integer(index));
    } else {
      value = item(state, value, text(make_text(state.arena, part)));
    }
    if (dot == rest.size()) return value;
    at = dot + 1;
  }
}

Value slice(State& state, const Value& object, const Value& from, const Value& to, const Value& by) {
  const auto bound = [](const Value& v, int64_t otherwise) {
    if (v.is(Tag::kNone) || v.is(Tag::kMissing)) return otherwise;
    const auto i = as_index(v);
    if (!i) fail("slice indices must be integers or None or have an __index__ method");
    return *i;
  };
  if (object.is(Tag::kUndefined)) fail_undefined(object);
  const bool sliceable =
      object.is_text() || object.is(Tag::kList) || object.is(Tag::kTuple) || object.is(Tag::kRange);
  if (object.is(Tag::kDict)) fail("unhashable type: 'slice'");
  if (!sliceable) fail("'", type_name(object), "' object is not subscriptable");
  const int64_t step = bound(by, 1);
  if (step == 0) fail("slice step cannot be zero");
  const int64_t size = length_of(state, object);
  const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? size - 1 : size;
  const auto clamp = [&](const Value& v, int64_t otherwise) {
    int64_t i = bound(v, INT64_MIN);
    if (v.is(Tag::kNone) || v.is(Tag::kMissing)) return otherwise;
    if (i < 0) {
      i = i < -size ? low : i + size;
      if (i < low) i = low;
    } else if (i > high) {
      i = high;
    }
    return i;
  };
  const int64_t start = clamp(from, step < 0 ? high : low), stop = clamp(to, step < 0 ? low : high);
  uint64_t count = 0;
  if (step > 0 && start < stop) count = static_cast<uint64_t>((stop - start - 1) / step + 1);
  if (step < 0 && start > stop)
    count = static_cast<uint64_t>((start - stop - 1) / (step == INT64_MIN ? INT64_MAX : -step) + 1);
  if (object.is(Tag::kRange)) {
    const Range& r = *object.range;
    Value v = tagged(Tag::kRange);
    v.range = state.arena.make<Range>(r.start + start * r.step, r.start + stop * r.step,
                                      count > 1 ? r.step * step : r.step, static_cast<int64_t>(count));
    return v;
  }
  if (object.is_text()) {
    const std::string_view all = flat(state.arena, *object.text);
    if (count == 0) return text(cut(state.arena, *object.text, 0, 0));
    const bool ascii = static_cast<int64_t>(all.size()) == size;
    if (!ascii) state.work(all.size());
    const auto offset = [&](int64_t i) { return ascii ? static_cast<size_t>(i) : offset_of(all, i); };
    if (step == 1) return text(cut(state.arena, *object.text, offset(start), offset(stop)));
    state.step(count);
    std::vector<uint32_t> offsets;
    for (size_t at = 0; at < all.size(); at = at + offset_of(all.substr(at), 1))
      offsets.push_back(static_cast<uint32_t>(at));
    offsets.push_back(static_cast<uint32_t>(all.size()));
    TextBuilder out(state.arena);
    for (uint64_t k = 0; k < count; ++k) {
      const auto i = static_cast<size_t>(start + static_cast<int64_t>(k) * step);
      out.add(*object.text, offsets[i], offsets[i + 1]);
    }
    return text(out.finish(object.text->markup));
  }
  const List& list = *object.list;
  if (step == 1)
    return list_value(make_list(state.arena, list.items + start, count, list.source), object.tag);
  state.step(count);
  Value* items = state.arena.array<Value>(count);
  for (uint64_t k = 0; k < count; ++k) items[k] = list.items[start + static_cast<int64_t>(k) * step];
  return list_value(make_list(state.arena, items, count, list.source), object.tag);
}

}  // namespace decant::jinja
