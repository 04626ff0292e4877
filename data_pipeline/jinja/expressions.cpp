#include "data_pipeline/jinja/nodes.h"

namespace decant::jinja {

namespace {

// Evaluated arguments; they live as long as the call.
class Evaluated {
 public:
  Evaluated(State& state, Frame& frame, const ArgumentList& list, const Value* caller) {
    const size_t count = list.values.size(), named = list.keyword_names.size() + (caller != nullptr ? 1 : 0);
    Value* values = count <= 4 ? values_ : state.arena.array<Value>(count);
    for (size_t i = 0; i < count; ++i) values[i] = list.values[i]->eval(state, frame);
    arguments.values = values;
    arguments.count = static_cast<uint32_t>(count);
    if (list.more_values) {
      ListBuilder all(state.arena, count + 4);
      for (size_t i = 0; i < count; ++i) all.add(values[i]);
      Walk walk(state, list.more_values->eval(state, frame));
      Value v;
      while (walk.next(v)) {
        state.step();
        all.add(v);
      }
      arguments.values = all.data();
      arguments.count = static_cast<uint32_t>(all.size());
    }
    if (named == 0 && !list.more_keywords) return;
    const Value more = list.more_keywords ? list.more_keywords->eval(state, frame) : none();
    if (list.more_keywords && !more.is(Tag::kDict))
      fail("argument after ** must be a mapping, not ", type_name(more));
    Keyword* keywords = state.arena.array<Keyword>(named + (list.more_keywords ? more.dict->count : 0));
    uint32_t n = 0;
    for (size_t i = 0; i < list.keyword_names.size(); ++i)
      keywords[n++] = {list.keyword_names[i], list.keyword_values[i]->eval(state, frame)};
    if (list.more_keywords)
      for (uint32_t i = 0; i < more.dict->count; ++i) {
        if (!more.dict->entries[i].key.is_text()) fail("keywords must be strings");
        for (uint32_t k = 0; k < n; ++k)
          if (same_text(*keywords[k].name, *more.dict->entries[i].key.text))
            fail("got multiple values for a keyword argument");
        keywords[n++] = {more.dict->entries[i].key.text, more.dict->entries[i].value};
      }
    if (caller != nullptr) keywords[n++] = {make_text(state.arena, "caller"), *caller};
    arguments.keywords = keywords;
    arguments.num_keywords = n;
  }

  Arguments arguments;

 private:
  Value values_[4];
};

}  // namespace

Value Name::eval(State&, Frame& frame) const {
  const Value& v = ref.in(frame);
  if (!v.is(Tag::kMissing)) [[likely]]
    return v;
  Value u = tagged(Tag::kUndefined);
  u.undefined = &undefined;
  return u;
}

Value Attribute::of(State& state, const Value& v) const {
  if (plain_key && v.is(Tag::kDict)) {
    if (const Value* found = v.dict->find(*name)) return *found;
    Value u = tagged(Tag::kUndefined);
    u.object = Tag::kDict;
    u.undefined = &undefined;
    return u;
  }
  if (loop_field != 0 && v.is(Tag::kLoop)) {
    switch (loop_field) {
      case 1:
        return integer(v.loop->index0);
      case 2:
        return integer(v.loop->index0 + 1);
      case 3:
        return boolean(v.loop->index0 == 0);
      default:
        return boolean(!loop_peek(state, *v.loop));
    }
  }
  return attribute(state, v, *name, &undefined);
}

Value Attribute::eval(State& state, Frame& frame) const {
  if (variable != nullptr) {
    const Value& v = variable->ref.in(frame);
    if (!v.is(Tag::kMissing)) return of(state, v);
  }
  return of(state, object->eval(state, frame));
}

Value Item::eval(State& state, Frame& frame) const {
  const Value v = object->eval(state, frame);
  if (constant != nullptr && v.is(Tag::kDict)) {
    if (const Value* found = v.dict->find(*constant)) return *found;
  }
  return item(state, v, key->eval(state, frame));
}

Value Slice::eval(State& state, Frame& frame) const {
  const Value v = object->eval(state, frame);
  const Value a = start ? start->eval(state, frame) : none();
  const Value b = stop ? stop->eval(state, frame) : none();
  return slice(state, v, a, b, step ? step->eval(state, frame) : none());
}

Value Sequence::eval(State& state, Frame& frame) const {
  Value* values = state.arena.array<Value>(items.size());
  for (size_t i = 0; i < items.size(); ++i) values[i] = items[i]->eval(state, frame);
  return list_value(make_list(state.arena, values, items.size()), tag);
}

Value Mapping::eval(State& state, Frame& frame) const {
  DictBuilder out(state.arena, keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const Value key = keys[i]->eval(state, frame);
    out.set(key, values[i]->eval(state, frame));
  }
  return dict_value(out.finish());
}

Value Condition::eval(State& state, Frame& frame) const {
  if (test_of->test(state, frame)) return yes->eval(state, frame);
  if (no) return no->eval(state, frame);
  Value u = tagged(Tag::kUndefined);
  u.undefined = &undefined;
  return u;
}

Value Filter::of(State& state, Frame& frame, const Value& v) const {
  if (builtin == nullptr) fail("No filter named '", name, "' found.");
  state.step();
  const Evaluated evaluated(state, frame, arguments, nullptr);
  return apply(state, *builtin, v, evaluated.arguments);
}

Value Filter::eval(State& state, Frame& frame) const { return of(state, frame, value->eval(state, frame)); }

bool Test::test(State& state, Frame& frame) const {
  const Value v = value->eval(state, frame);
  switch (quick) {
    case 1:
      return !v.is(Tag::kUndefined);
    case 2:
      return v.is(Tag::kNone);
    case 3:
      return v.is_text();
    case 4:
      return v.is(Tag::kUndefined);
    default:
      break;
  }
  if (builtin == nullptr) fail("No test named '", name, "' found.");
  const Evaluated evaluated(state, frame, arguments, nullptr);
  return truth(state, apply(state, *builtin, v, evaluated.arguments));
}

Value CallExpression::call(State& state, Frame& frame, const Value* caller) const {
  if (method != nullptr) {
    const Value object = method->object->eval(state, frame);
    const Builtin* known = object.is_text()                                  ? method->text_method
                           : object.is(Tag::kDict)                           ? method->dict_method
                           : object.is(Tag::kList) || object.is(Tag::kTuple) ? method->list_method
                                                                             : nullptr;
    if (known != nullptr && !(object.is(Tag::kTuple) && known == find_list_method("copy", false))) {
      state.step();
      const Evaluated evaluated(state, frame, arguments, caller);
      return apply(state, *known, object, evaluated.arguments);
    }
    const Value function = method->of(state, object);
    const Evaluated evaluated(state, frame, arguments, caller);
    return call_value(state, function, evaluated.arguments);
  }
  const Value function = callee->eval(state, frame);
  const Evaluated evaluated(state, frame, arguments, caller);
  return call_value(state, function, evaluated.arguments);
}

Value Concat::eval(State& state, Frame& frame) const {
  TextBuilder out(state.arena);
  bool markup = false;
  if (state.autoescape) {  // markup_join
    std::vector<Value> values;
    for (const auto& e : items) {
      values.push_back(e->eval(state, frame));
      markup = markup || (values.back().is_text() && values.back().text->markup);
    }
    for (const Value& v : values) {
      const Str* s = v.is_text() ? v.text : to_text(state, v);
      out.add(markup && !s->markup ? *escape_html(state, *s) : *s);
    }
  } else {
    for (const auto& e : items) show(state, out, e->eval(state, frame), false);
  }
  return text(out.finish(markup));
}

void Concat::write(State& state, Frame& frame) const {
  if (state.autoescape) return write_value(state, eval(state, frame));
  for (const auto& e : items) write_value(state, e->eval(state, frame));
}

bool Compare::test(State& state, Frame& frame) const {
  Value left = first->eval(state, frame);
  if (constant != nullptr && left.is_text())
    return same_text(*left.text, *constant) == (ops[0] == Comparison::kEqual);
  for (size_t i = 0; i < ops.size(); ++i) {
    const Value right = others[i]->eval(state, frame);
    bool ok = false;
    switch (ops[i]) {
      case Comparison::kEqual:
        ok = equal(left, right);
        break;
      case Comparison::kNotEqual:
        ok = !equal(left, right);
        break;
      case Comparison::kIn:
        ok = contains(state, right, left);
        break;
      case Comparison::kNotIn:
        ok = !contains(state, right, left);
        break;
      default: {
        static constexpr const char* kNames[] = {"", "", "<", "<=", ">", ">="};
        const int order = compare(left, right, kNames[static_cast<int>(ops[i])]);
        ok = order != 2 && (ops[i] == Comparison::kLess        ? order < 0
                            : ops[i] == Comparison::kLessEqual ? order <= 0
                            : ops[i] == Comparison::kGreater   ? order > 0
                                                               : order >= 0);
      }
    }
    if (!ok) return false;
    left = right;
  }
  return true;
}

Value Arithmetic::eval(State& state, Frame& frame) const {
  const Value a = left->eval(state, frame);
  return binary(state, op, a, right->eval(state, frame));
}

namespace {

bool joins(const Value& v) { return v.is_text() && !v.text->markup; }

}  // namespace

// left + items[i] + ...
Value Sum::from(State& state, Frame& frame, Value left, size_t i) const {
  for (; i < items.size(); ++i) left = binary(state, Op::kAdd, left, items[i]->eval(state, frame));
  return left;
}

Value Sum::eval(State& state, Frame& frame) const {
  const Value first = items[0]->eval(state, frame);
  if (!joins(first)) return from(state, frame, first, 1);
  TextBuilder out(state.arena);
  out.add(*first.text);
  uint64_t pieces = first.text->count;
  for (size_t i = 1; i < items.size(); ++i) {
    if (constants[i] != nullptr) {
      out.add(*constants[i]);
      continue;
    }
    const Value v = items[i]->eval(state, frame);
    if (!joins(v)) return from(state, frame, binary(state, Op::kAdd, text(out.finish()), v), i + 1);
    out.add(*v.text);
    pieces += v.text->count;
  }
  state.step(pieces / 8);
  return text(out.finish());
}

void Sum::write(State& state, Frame& frame) const {
  const Value first = constants[0] != nullptr ? text(constants[0]) : items[0]->eval(state, frame);
  if (!joins(first) || state.autoescape) return write_value(state, from(state, frame, first, 1));
  const uint32_t mark = state.sink->count;
  const uint64_t bytes = state.sink->bytes;
  state.emit(*first.text);
  for (size_t i = 1; i < items.size(); ++i) {
    if (constants[i] != nullptr) {
      state.emit(constants[i]->only);
      continue;
    }
    const Value v = items[i]->eval(state, frame);
    if (joins(v)) {
      state.emit(*v.text);
      continue;
    }
    // Not text, or text that escapes what stands before it.
    TextBuilder left(state.arena);
    for (uint32_t k = mark; k < state.sink->count; ++k) {
      const Written& w = state.sink->pieces[k];
      left.add(Piece{w.data, w.size, w.source});
    }
    state.sink->count = mark;
    state.sink->bytes = bytes;
    const Value so_far = binary(state, Op::kAdd, text(left.finish()), v);
    return write_value(state, from(state, frame, so_far, i + 1));
  }
}

Value Logic::eval(State& state, Frame& frame) const {
  const Value a = left->eval(state, frame);
  return truth(state, a) == is_and ? right->eval(state, frame) : a;
}

bool Logic::test(State& state, Frame& frame) const {
  return left->test(state, frame) == is_and ? right->test(state, frame) : !is_and;
}

Value Unary::eval(State& state, Frame& frame) const {
  if (op == '!') return boolean(!operand->test(state, frame));
  const Value v = operand->eval(state, frame);
  return op == '-' ? negative(v) : positive(v);
}

bool Unary::test(State& state, Frame& frame) const {
  if (op == '!') return !operand->test(state, frame);
  return truth(state, eval(state, frame));
}

}  // namespace decant::jinja
