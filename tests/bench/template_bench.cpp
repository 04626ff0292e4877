// Chat-template renderings a second on one thread, loss spans and pieces included: usage: template_bench
// FOLDER [SECONDS]. FOLDER holds the templates of the conformance set. Prints {"renders_per_second":
// {template: n}, "bytes": {template: n}, "sha256": {template: hex}}, in CPU time.
#include <cstdio>
#include <ctime>
#include <exception>
#include <string>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "data_pipeline/chat_template.h"

namespace {

// The conversation of peers/template_jinja2.py.
const std::vector<decant::Message> kMessages = {
    {"system", "You are a helpful customer service assistant for an online shop.", nullptr},
    {"user", "Hi, my order 3348917502 has not arrived yet. It was due last Friday.", nullptr},
    {"assistant",
     "I am sorry to hear that. May I have your email address and the shipping postcode so I can check the "
     "status?",
     nullptr},
    {"user", "Sure: cminh730@example.com, 75227. 另外，我想改一下收货地址。", nullptr},
    {"assistant",
     "Thank you. The parcel left our warehouse on Monday and is with the courier; delivery is expected "
     "tomorrow before 6 pm. "
     "可以修改地址，请提供新的地址。",
     nullptr},
    {"user", "6821 1st ave, San Mateo. And can I get the delivery fee back?", nullptr},
    {"assistant",
     "Yes, I have refunded the delivery fee of $6.99 to your credit card; you will see it within 3 to 5 "
     "business days. "
     "Anything else?",
     nullptr}};

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: template_bench FOLDER [SECONDS]\n");
    return 2;
  }
  const double seconds = argc > 2 ? std::stod(argv[2]) : 0.5;
  decant::Json out;
  for (const char* name :
       {"Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "deepseek-ai-DeepSeek-V3.1", "trl-qwen3_training"}) {
    const std::string path = std::string(argv[1]) + "/" + name + ".jinja";
    const auto chat = decant::chat_template_from_text(
        decant::read_file(path), path, {{"bos_token", "<|im_start|>"}, {"eos_token", "<|im_end|>"}});
    const decant::RenderOptions options;
    size_t bytes = 0, spans = 0, renders = 0;
    const double start = cpu_seconds();
    double used = 0;
    do {
      for (int i = 0; i < 1000; ++i, ++renders) {
        const decant::Rendered r = chat->render(kMessages, options);
        bytes += r.text.size();
        spans += r.assistant_spans.size();
      }
      used = cpu_seconds() - start;
    } while (used < seconds);
    if (spans != renders * 3) throw std::runtime_error("spans are missing");
    out["renders_per_second"][name] = static_cast<double>(renders) / used;
    out["bytes"][name] = bytes / renders;
    out["sha256"][name] = decant::sha256_hex(chat->render(kMessages, options).text);
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
