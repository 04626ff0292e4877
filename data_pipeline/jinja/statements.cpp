#include "data_pipeline/jinja/nodes.h"

namespace decant::jinja {

void enter(const Inits& inits, State& state, Frame& frame) {
  for (const Init& init : inits) {
    Value& to = init.to.in(frame);
    switch (init.kind) {
      case Init::Kind::kUndefined:
        to = missing();
        break;
      case Init::Kind::kAlias:
        to = init.from.in(frame);
        break;
      case Init::Kind::kResolve:
        to = init.exported >= 0 ? state.top->slots[init.exported] : missing();
        if (to.is(Tag::kMissing)) to = state.variables[init.variable];
        if (to.is(Tag::kMissing)) to = state.program.globals[init.variable];
        break;
    }
  }
}

namespace {

void set_name(State& state, Namespace& names, const Str& name, const Value& value) {
  if (flat(state.arena, name).starts_with('_'))
    fail("Chat templates cannot store underscore-prefixed attributes on a namespace");
  for (uint32_t i = 0; i < names.count; ++i)
    if (same_text(*names.entries[i].key.text, name)) {
      names.entries[i].value = value;
      return;
    }
  if (names.count == names.room) {
    Entry* larger = state.arena.array<Entry>(names.room * 2 + 4);
    std::copy(names.entries, names.entries + names.count, larger);
    names.entries = larger;
    names.room = names.room * 2 + 4;
  }
  names.entries[names.count++] = {text(&name), value};
}

void check_names(const std::vector<Ref>& refs, Frame& frame) {
  for (const Ref& ref : refs)
    if (!ref.in(frame).is(Tag::kNamespace)) fail("cannot assign attribute on non-namespace object");
}

Frame* new_frame(State& state, uint32_t slots, Frame* parent) {
  auto* values = state.arena.array<Value>(slots);
  for (uint32_t i = 0; i < slots; ++i) values[i] = missing();
  return state.arena.make<Frame>(values, parent);
}

// The innermost filter of the chain takes the text.
Value apply_block_filter(const Expression& filter, State& state, Frame& frame, const Value& captured) {
  const auto& f = static_cast<const Filter&>(filter);
  return f.of(state, frame, f.value ? apply_block_filter(*f.value, state, frame, captured) : captured);
}

// What the statements write, as a text; nothing when a break or continue leaves them.
Flow capture_all(const Statements& body, State& state, Frame& frame, Value& captured) {
  Capture capture(state);
  const Flow flow = run_all(body, state, frame);
  if (flow == Flow::kOn) captured = text(capture.text());
  return flow;
}

}  // namespace

void Target::assign(State& state, Frame& frame, const Value& value) const {
  if (kind == Kind::kName) {
    ref.in(frame) = value;
    return;
  }
  if (kind == Kind::kNames) {
    const Value& names = ref.in(frame);
    if (!names.is(Tag::kNamespace)) fail("cannot assign attribute on non-namespace object");
    set_name(state, *names.names, *attribute, value);
    return;
  }
  if (!can_walk(value)) fail("cannot unpack non-iterable ", type_name(value), " object");
  Walk walk(state, value);
  Value v;
  size_t n = 0;
  while (walk.next(v)) {
    if (n == items.size()) fail("too many values to unpack (expected ", items.size(), ")");
    items[n++].assign(state, frame, v);
  }
  if (n < items.size()) fail("not enough values to unpack (expected ", items.size(), ", got ", n, ")");
}

Flow Output::run(State& state, Frame& frame) const {
  for (const Item& part : items) {
    if (part.expression) {
      state.line = part.expression->line;
      part.expression->write(state, frame);
    } else {
      state.emit(Piece{part.literal.data(), static_cast<uint32_t>(part.literal.size()), kTemplate});
    }
  }
  return Flow::kOn;
}

Flow If::run(State& state, Frame& frame) const {
  state.line = line;
  for (const Branch& branch : branches)
    if (branch.test->test(state, frame)) return run_all(branch.body, state, frame);
  return run_all(otherwise, state, frame);
}

namespace {

// The next item that passes the loop's test.
bool advance_loop(State& state, Loop& loop, Value& item) {
  const For& node = *static_cast<const For*>(loop.body);
  while (loop.walk->next(item)) {
    if (!node.test) return true;
    state.step();
    node.test_target.assign(state, *loop.frame, item);
    enter(node.test_inits, state, *loop.frame);
    if (node.test->test(state, *loop.frame)) return true;
  }
  return false;
}

}  // namespace

Flow For::run_over(State& state, Frame& frame, const Value& iterable, int64_t depth0) const {
  state.descend();
  Walk* walk = new (state.arena.allocate(sizeof(Walk))) Walk(state, iterable);
  Loop* context = state.arena.make<Loop>();
  context->walk = walk;
  context->advance = advance_loop;
  context->body = this;
  context->frame = &frame;
  context->depth0 = depth0;
  context->recursive = recursive;
  if (!test && walk->known_length() >= 0) context->length = walk->known_length();
  if (extended) {
    Value v = tagged(Tag::kLoop);
    v.loop = context;
    loop.in(frame) = v;
  }
  const int32_t outer_turn = state.turn;
  bool none_ran = true;
  Value item;
  while (extended ? loop_next(state, *context, item) : advance_loop(state, *context, item)) {
    state.step();
    none_ran = false;
    target.assign(state, frame, item);
    if (item.is(Tag::kDict) && item.dict->message >= 0) state.turn = item.dict->message;
    enter(inits, state, frame);
    const Flow flow = run_all(body, state, frame);
    state.turn = outer_turn;
    if (flow == Flow::kBreak) break;
  }
  if (none_ran && !otherwise.empty()) {
    enter(else_inits, state, frame);
    return run_all(otherwise, state, frame);
  }
  return Flow::kOn;
}

Flow For::run(State& state, Frame& frame) const {
  state.line = line;
  const Value iterable = over->eval(state, frame);
  return run_over(state, recursive ? *new_frame(state, slots, &frame) : frame, iterable, 0);
}

const Str* call_loop(State& state, Loop& loop, const Value& iterable) {
  if (!loop.recursive) fail("The loop must have the 'recursive' marker to be called recursively.");
  state.descend();
  state.step(16);
  const For& node = *static_cast<const For*>(loop.body);
  Capture capture(state);
  node.run_over(state, *new_frame(state, node.slots, loop.frame->parent), iterable, loop.depth0 + 1);
  return capture.text();
}

Flow Assign::run(State& state, Frame& frame) const {
  state.line = line;
  check_names(must_be_names, frame);
  target.assign(state, frame, value->eval(state, frame));
  return Flow::kOn;
}

Flow AssignBlock::run(State& state, Frame& frame) const {
  state.line = line;
  enter(inits, state, frame);
  Value captured;
  if (const Flow flow = capture_all(body, state, frame, captured); flow != Flow::kOn) return flow;
  if (filter) captured = apply_block_filter(*filter, state, frame, captured);
  target.assign(state, frame, captured);
  return Flow::kOn;
}

Flow MacroDefinition::run(State& state, Frame& frame) const {
  Value v = tagged(Tag::kMacro);
  v.macro = state.arena.make<Macro>(macro.get(), &frame);
  to.in(frame) = v;
  return Flow::kOn;
}

Flow CallBlock::run(State& state, Frame& frame) const {
  state.line = line;
  Value caller = tagged(Tag::kMacro);
  caller.macro = state.arena.make<Macro>(macro.get(), &frame);
  write_value(state, call->call(state, frame, &caller));
  return Flow::kOn;
}

Flow GenerationBlock::run(State& state, Frame& frame) const {
  state.line = line;
  state.descend();
  Frame* own = new_frame(state, macro->slots, &frame);
  const auto begin = static_cast<int64_t>(state.root.bytes), start = static_cast<int64_t>(state.sink->bytes);
  enter(macro->inits, state, *own);
  run_all(macro->body, state, *own);
  const auto written = static_cast<int64_t>(state.sink->bytes) - start;
  if (state.generations != nullptr) state.generations->push_back({begin, begin + written, state.turn});
  return Flow::kOn;
}

Flow FilterBlock::run(State& state, Frame& frame) const {
  state.line = line;
  enter(inits, state, frame);
  Value captured;
  if (const Flow flow = capture_all(body, state, frame, captured); flow != Flow::kOn) return flow;
  write_value(state, apply_block_filter(*filter, state, frame, captured));
  return Flow::kOn;
}

Flow With::run(State& state, Frame& frame) const {
  state.line = line;
  enter(inits, state, frame);
  for (size_t i = 0; i < targets.size(); ++i) targets[i].assign(state, frame, values[i]->eval(state, frame));
  return run_all(body, state, frame);
}

Flow ScopedBlock::run(State& state, Frame& frame) const {
  state.line = line;
  state.descend();
  if (own_frame) {
    Frame* own = new_frame(state, slots, nullptr);
    enter(inits, state, *own);
    run_all(body, state, *own);
    return Flow::kOn;
  }
  enter(inits, state, frame);
  const bool before = state.autoescape;
  if (autoescape) state.autoescape = autoescape->test(state, frame);
  const Flow flow = run_all(body, state, frame);
  state.autoescape = before;
  return flow;
}

std::string macro_repr(const Macro& macro) {
  return macro.body->name.empty() ? "<Macro anonymous>" : concat("<Macro '", macro.body->name, "'>");
}

bool macro_attribute(State& state, const Macro& macro, std::string_view name, Value& found) {
  const MacroBody& m = *macro.body;
  if (name == "name") {
    found = m.name.empty() ? none() : text(make_text(state.arena, m.name));
  } else if (name == "arguments") {
    ListBuilder names(state.arena, m.parameters.size() + 1);
    for (const Str* parameter : m.parameters) names.add(text(parameter));
    found = list_value(names.finish(), Tag::kTuple);
  } else if (name == "catch_kwargs" || name == "catch_varargs" || name == "caller") {
    found = boolean((name == "caller" ? m.caller : name == "catch_kwargs" ? m.keywords : m.rest) >= 0);
  } else {
    return false;
  }
  return true;
}

Value call_macro(State& state, const Macro& macro, const Arguments& arguments) {
  state.descend();
  state.step(16);
  const MacroBody& m = *macro.body;
  Frame* frame = new_frame(state, m.slots, macro.frame);
  const size_t parameters = m.parameters.size(), given = std::min<size_t>(arguments.count, parameters);
  for (size_t i = 0; i < given; ++i) frame->slots[m.parameter_slots[i]] = arguments.values[i];
  if (arguments.num_keywords > 64) fail("a macro was called with too many keyword arguments");
  uint64_t used = 0;
  const auto take = [&](const auto& name) -> const Value* {
    for (uint32_t k = 0; k < arguments.num_keywords; ++k)
      if ((used >> k & 1) == 0 && same_text(*arguments.keywords[k].name, name)) {
        used |= uint64_t{1} << k;
        return &arguments.keywords[k].value;
      }
    return nullptr;
  };
  for (size_t i = given; i < parameters; ++i)
    if (const Value* v = take(*m.parameters[i])) frame->slots[m.parameter_slots[i]] = *v;
  if (m.caller >= 0) {
    static const UndefinedInfo kNoCaller{"caller", "No caller defined"};
    const Value* v = take(std::string_view("caller"));
    Value caller = tagged(Tag::kUndefined);
    caller.undefined = &kNoCaller;
    frame->slots[m.caller] = v != nullptr && !v->is(Tag::kNone) ? *v : caller;
  }
  if (m.keywords >= 0) {
    DictBuilder rest(state.arena);
    for (uint32_t k = 0; k < arguments.num_keywords; ++k)
      if ((used >> k & 1) == 0) rest.set(text(arguments.keywords[k].name), arguments.keywords[k].value);
    frame->slots[m.keywords] = dict_value(rest.finish());
  } else {
    for (uint32_t k = 0; k < arguments.num_keywords; ++k)
      if ((used >> k & 1) == 0)
        fail("macro '", m.name, "' takes no keyword argument '",
             flat(state.arena, *arguments.keywords[k].name), "'");
  }
  if (m.rest >= 0) {
    const uint32_t count = arguments.count - static_cast<uint32_t>(given);
    Value* values = state.arena.array<Value>(count);
    std::copy(arguments.values + given, arguments.values + arguments.count, values);
    frame->slots[m.rest] = list_value(make_list(state.arena, values, count), Tag::kTuple);
  } else if (arguments.count > parameters) {
    fail("macro '", m.name, "' takes not more than ", parameters, " argument(s)");
  }
  enter(m.inits, state, *frame);
  for (size_t i = 0; i < parameters; ++i) {
    Value& slot = frame->slots[m.parameter_slots[i]];
    if (!slot.is(Tag::kMissing)) continue;
    const size_t without = parameters - m.defaults.size();
    if (i >= without) {
      slot = m.defaults[i - without]->eval(state, *frame);
    } else {
      slot = tagged(Tag::kUndefined);
      slot.undefined = &m.undefined[i];
    }
  }
  Capture capture(state);
  run_all(m.body, state, *frame);
  return text(capture.text());
}

}  // namespace decant::jinja
