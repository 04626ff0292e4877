// decant generate, decant chat: try a model.
#include "core/model/generate.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "core/log.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/open_model.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

struct GenerateArguments {
  std::string model, adapter, dtype = "auto", quantize = "none", prompt, system;
  bool raw = false, json = false, has_prompt = false, sample = false;
  std::vector<std::string> stop;
  SamplingConfig sampling;
};

// A model with what turns text into ids and back.
struct Speaker {
  Decoder model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;
  std::vector<int64_t> stop;
};

Speaker open_speaker(const GenerateArguments& a) {
  Speaker s;
  s.tokenizer = load_tokenizer(a.model);
  if (!a.raw) s.chat = open_chat_template(a.model);
  s.stop = open_stop_ids(a.model);
  s.model = open_model(a.model, parse_dtype(a.dtype), a.adapter, parse_quantization(a.quantize));
  check(s.tokenizer->vocab_size() <= s.model.config.vocab_size, a.model, ": the tokenizer has ",
        s.tokenizer->vocab_size(), " tokens, the model only ", s.model.config.vocab_size,
        ": they do not belong together");
  return s;
}

// Where the first stop string begins in `text`; npos when none is there.
size_t first_stop(const std::string& text, const std::vector<std::string>& stop) {
  size_t first = std::string::npos;
  for (const auto& s : stop) first = std::min(first, text.find(s));
  return first;
}

std::string answer(const Speaker& s, const std::vector<int64_t>& prompt, uint64_t key,
                   const GenerateArguments& a) {
  StopCheck check_stop;
  if (!a.stop.empty())
    check_stop = [&](size_t, const std::vector<int64_t>& ids) {
      return first_stop(s.tokenizer->decode(ids), a.stop) != std::string::npos;
    };
  const auto results = generate(s.model, {{prompt, key}}, a.sampling, s.stop, 1, check_stop);
  std::vector<int64_t> ids = results[0].tokens;
  if (results[0].reason == StopReason::kStopToken && !ids.empty()) ids.pop_back();
  std::string text = s.tokenizer->decode(ids);
  text.resize(std::min(text.size(), first_stop(text, a.stop)));
  return text;
}

std::vector<int64_t> prompt_ids(const Speaker& s, const std::vector<Message>& messages) {
  return tokenize_rendered(s.chat->render(messages, true), *s.tokenizer).tokens;
}

void show(const std::string& text, const GenerateArguments& a) {
  print((a.json ? Json(text).dump(-1, ' ', false, Json::error_handler_t::replace) : text) + "\n");
  flush_output();
}

Exit run_generate(const GenerateArguments& a) {
  const Speaker s = open_speaker(a);
  uint64_t key = 0;
  const auto one = [&](const std::string& prompt) {
    std::vector<int64_t> ids;
    if (a.raw) {
      ids = s.tokenizer->encode(prompt, SpecialMode::kMatch);
    } else {
      std::vector<Message> messages;
      if (!a.system.empty()) messages.push_back({"system", a.system, {}});
      messages.push_back({"user", prompt, {}});
      ids = prompt_ids(s, messages);
    }
    check(!ids.empty(), "the prompt is empty");
    show(answer(s, ids, key++, a), a);
  };
  if (a.has_prompt) {
    one(a.prompt);
    return Exit::kFinished;
  }
  std::string text;
  for (int64_t line = 0; next_line(text, line);)
    if (!text.empty()) one(text);
  return Exit::kFinished;
}

Exit run_chat(const GenerateArguments& a) {
  const Speaker s = open_speaker(a);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  std::vector<Message> messages;
  if (!a.system.empty()) messages.push_back({"system", a.system, {}});
  if (terminal) log_info("chatting with ", a.model, "; an empty line or Ctrl-D ends it, /new starts afresh");
  std::string text;
  for (int64_t line = 0;;) {
    if (terminal) print("> ");
    flush_output();
    if (!next_line(text, line) || text.empty()) return Exit::kFinished;
    if (text == "/new") {
      messages.resize(a.system.empty() ? 0 : 1);
      continue;
    }
    messages.push_back({"user", text, {}});
    const std::string said = answer(s, prompt_ids(s, messages), static_cast<uint64_t>(line), a);
    messages.push_back({"assistant", said, {}});
    show(said, a);
  }
}

void add_options(CLI::App* verb, const std::shared_ptr<GenerateArguments>& a) {
  verb->add_option("--adapter", a->adapter, "PEFT folder");
  verb->add_option("--dtype", a->dtype, "auto (default), fp32 or bf16")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
  add_quantize_option(verb, a->quantize);
  verb->add_option("--system", a->system, "system message");
  verb->add_option("--max-tokens", a->sampling.max_new_tokens, "longest answer");
  verb->add_flag("--sample", a->sample,
                 "draw tokens instead of taking the most likely one; implied by the four below");
  for (auto* option :
       {verb->add_option("--temperature", a->sampling.temperature, "logits are divided by this"),
        verb->add_option("--top-k", a->sampling.top_k, "keep the k most likely tokens"),
        verb->add_option("--top-p", a->sampling.top_p, "keep the likeliest tokens that add up to p"),
        verb->add_option("--min-p", a->sampling.min_p,
                         "keep tokens at least this share as likely as the first")})
    option->each([a](const std::string&) { a->sample = true; });
  verb->add_option("--repetition-penalty", a->sampling.repetition_penalty,
                   "above 1 makes tokens seen before less likely");
  verb->add_option("--seed", a->sampling.seed, "of the sampling");
  verb->add_option("--stop", a->stop, "text that ends an answer; may be given several times")
      ->allow_extra_args(false);
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto* generate = app.add_subcommand("generate", "answer a prompt, or each line of standard input");
  auto a = std::make_shared<GenerateArguments>();
  generate->add_option("MODEL", a->model, "Hugging Face folder or GGUF file")->required();
  auto* prompt =
      generate->add_option("PROMPT", a->prompt, "what to answer; without it, each line of standard input");
  generate->add_flag("--raw", a->raw, "continue the prompt as it stands, without the chat template");
  generate->add_flag("--json", a->json, "write each answer as a JSON string");
  add_options(generate, a);
  const auto finish = [](GenerateArguments& g) {
    g.sampling.greedy = !g.sample;
    g.sampling.validate(Place(nullptr, "command line"));
  };
  generate->callback([&action, a, prompt, finish] {
    a->has_prompt = prompt->count() > 0;
    action = [a, finish] {
      finish(*a);
      return run_generate(*a);
    };
  });

  auto* chat = app.add_subcommand("chat", "talk with a model");
  auto c = std::make_shared<GenerateArguments>();
  chat->add_option("MODEL", c->model, "Hugging Face folder or GGUF file")->required();
  add_options(chat, c);
  chat->callback([&action, c, finish] {
    action = [c, finish] {
      finish(*c);
      return run_chat(*c);
    };
  });
}

}  // namespace decant
