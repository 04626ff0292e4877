#include "recipes/recipe_config.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "recipes/possible_adapters.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

bool is_file_name(const std::string& text) {
  return !text.empty() && text[0] != '.' && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c >= 0x80;
  });
}

bool names_a_month(const std::string& text) {
  if (text.size() != 7 || text[4] != '-') return false;
  for (const size_t i : {0, 1, 2, 3, 5, 6})
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) return false;
  const int month = (text[5] - '0') * 10 + (text[6] - '0');
  return month >= 1 && month <= 12;
}

const std::vector<std::string> kSections = {"corpus", "distill", "train", "lora", "evaluate", "export"};

// Paths of the command line are relative to the current folder; those of the file keep theirs.
void anchor_command_line(Setting& root) {
  const auto anchor = [](Setting& s) {
    if (s.kind != Setting::Kind::kScalar || !s.where.starts_with("command line: ")) return;
    if (s.scalar.empty() || s.scalar[0] == '@' || s.scalar[0] == '/' || s.scalar == "-") return;
    s.scalar = fs::absolute(s.scalar).lexically_normal().string();
  };
  const auto anchor_list = [&](Setting& list) {
    const bool from_command_line = list.where.starts_with("command line: ");
    for (auto& item : list.items) {
      if (from_command_line) item.where = list.where;
      anchor(item);
    }
  };
  for (auto& [section, value] : root.members)
    for (auto& [key, setting] : value.members) {
      if (key == "path" || key == "tenant_files" || (key == "model" && section != "model")) anchor(setting);
      if (section == "lora" && key == "start") anchor(setting);
      if (section == "model" && key == "random")
        for (auto& [inner, path] : setting.members)
          if (inner == "tokenizer") anchor(path);
      if (section == "corpus" && key == "inputs") anchor_list(setting);
      if (section == "corpus" && key == "sources")
        for (auto& source : setting.items)
          for (auto& [inner, paths] : source.members)
            if (inner == "paths") anchor_list(paths);
      if (section == "corpus")
        for (auto& [inner, path] : setting.members) {
          if (inner == "ledger" || inner == "index" || inner == "previous") anchor(path);
          if (inner == "replay_from") anchor_list(path);
        }
    }
}

std::vector<std::string> names_of(const std::map<std::string, Setting>& settings) {
  std::vector<std::string> names;
  for (const auto& [name, value] : settings) names.push_back(name);
  return names;
}

// The files of lora.tenant_files, as tenants with their overrides.
void read_tenant_files(LoadedRecipe& loaded) {
  if (!loaded.recipe.lora || loaded.recipe.lora->tenant_files.empty()) return;
  LoraSection& lora = *loaded.recipe.lora;
  const fs::path folder = loaded.resolve(lora.tenant_files);
  const std::string place = loaded.place("lora.tenant_files");
  check(fs::is_directory(folder), place, ": ", folder.string(), " is not a folder");
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  check(!files.empty(), place, ": ", folder.string(), " holds no TENANT.yaml");
  for (const auto& file : files) {
    const std::string tenant = file.stem().string();
    check(!lora.overrides.contains(tenant), place, ": '", tenant, "' has a file and 'lora.overrides.", tenant,
          "': expected one of them");
    Setting settings = read_settings(file);
    lora.tenants.push_back(tenant);
    if (settings.kind != Setting::Kind::kNull) lora.overrides[tenant] = std::move(settings);
  }
  lora.tenant_files.clear();
  const Setting* section = loaded.root.find("lora");
  lora.validate(Place(section, "lora"));
}

// What an objective learns from is what the corpus keeps.
void check_objective(const Recipe& r, const std::string& place, ObjectiveKind kind) {
  check(kind == ObjectiveKind::kSft || (r.corpus && r.corpus->preference == Preference::kPairs), place,
        " compares answers that people judged, which the corpus leaves out: set 'corpus.preference: pairs'");
  check(
      kind != ObjectiveKind::kSft || !r.corpus || r.corpus->preference == Preference::kChosen, place,
      " is sft, which learns every answer, and 'corpus.preference: pairs' keeps those that people rejected: "
      "set 'corpus.preference: chosen', or an objective that compares them (dpo, orpo, kto)");
}

void check_adapters(const LoadedRecipe& loaded) {
  const Recipe& r = loaded.recipe;
  const auto jobs = possible_adapters(*r.lora);
  const TrainConfig& first = jobs.front().settings.train;
  for (const auto& job : jobs) {
    const auto place = [&](const char* key) { return adapter_place(loaded, job, key); };
    const TrainConfig& train = job.settings.train;
    check_objective(r, place("train.objective"), train.objective);
    const auto together = [&](const char* key, bool same) {
      check(same, place(key), " differs from ", adapter_place(loaded, jobs.front(), key),
            ": adapters that train together have one objective; give the others a recipe of their own");
    };
    together("train.objective", train.objective == first.objective);
    together("train.preference", config_key(train.preference) == config_key(first.preference));
    check(!job.settings.lora.dora || !r.export_, place("dora"),
          " is true, but vLLM and llama.cpp refuse DoRA adapters, so the export step does too; take out "
          "'export' and merge them (decant merge), or train with 'lora.dora: false'");
    check(job.settings.lora.trainable_tokens.empty() || !r.export_, place("trainable_tokens"),
          ": vLLM and llama.cpp take no adapters with rows for tokens, so the export step does not, either; ",
          "take out 'export' and merge them (decant merge), or train no tokens");
  }
}

void check_references(const LoadedRecipe& loaded) {
  const Recipe& r = loaded.recipe;
  const auto check_one = [&](const std::string& key, const std::string& model,
                             const std::vector<std::string>& allowed) {
    if (model.empty() || model[0] != '@') return;
    const std::string name = model.substr(1);
    std::string list;
    for (const auto& a : allowed) list += (list.empty() ? "@" : ", @") + a;
    check(std::find(allowed.begin(), allowed.end(), name) != allowed.end(), loaded.place(key),
          " must be a path or one of ", list, ", found '", model, "'", did_you_mean("", name, allowed));
    check(name != "distill" || r.distill, loaded.place(key),
          " is '@distill', but the recipe has no section 'distill'");
    check(name != "train" || r.train, loaded.place(key),
          " is '@train', but the recipe has no section 'train'");
  };
  check(!r.distill || r.distill->train.objective == ObjectiveKind::kSft,
        loaded.place("distill.train.objective"), " must be sft: a student learns from its teacher");
  if (r.train) check_objective(r, loaded.place("train.objective"), r.train->train.objective);
  if (r.train) check_one("train.model", r.train->model, {"model", "distill"});
  if (r.lora) check_one("lora.model", r.lora->model, {"model", "distill", "train"});
  if (r.export_) check_one("export.model", r.export_->model, {"model", "distill", "train"});
  const auto needs_corpus = [&](bool present, const char* section) {
    check(!present || r.corpus, loaded.place(section),
          " needs conversations, but the recipe has no section 'corpus'");
  };
  needs_corpus(r.distill.has_value(), "distill");
  check(!r.distill || r.distill->generate.answers > 0 || r.distill->corpus, loaded.place("distill.corpus"),
        " is false and 'distill.generate.answers' is 0: there is nothing to learn from");
  needs_corpus(r.train.has_value(), "train");
  needs_corpus(r.lora.has_value(), "lora");
  needs_corpus(r.evaluate.has_value(), "evaluate");
  if (r.lora) check_adapters(loaded);
  if (r.lora && r.export_)
    check(released_model(r) == r.lora->model, loaded.place("export.model"), " is '", released_model(r),
          "', but the adapters are for '", r.lora->model, "': expected the same model");
}

}  // namespace

void RandomModelConfig::validate(const Place& place) const {
  check(!tokenizer.empty(), place("tokenizer"),
        " is missing: a folder with tokenizer.json and chat_template.jinja");
  const auto positive = [&](const char* key, int64_t value, int64_t most) {
    check(value >= 1 && value <= most, place(key), " must be from 1 to ", most, ", found ", value);
  };
  positive("hidden_size", hidden_size, 65536);
  positive("intermediate_size", intermediate_size, 1 << 20);
  positive("num_hidden_layers", num_hidden_layers, 1024);
  positive("num_attention_heads", num_attention_heads, 1024);
  positive("num_key_value_heads", num_key_value_heads, 1024);
  positive("max_position_embeddings", max_position_embeddings, 1 << 24);
  check(hidden_size % (2 * num_attention_heads) == 0, place("hidden_size"),
        " must be a multiple of twice num_attention_heads (", num_attention_heads, "), found ", hidden_size);
  check(num_attention_heads % num_key_value_heads == 0, place("num_attention_heads"),
        " must be a multiple of num_key_value_heads (", num_key_value_heads, "), found ",
        num_attention_heads);
  check(deviation > 0 && deviation <= 1, place("deviation"), " must be above 0 and at most 1, found ",
        deviation);
}

void ModelSection::validate(const Place& place) const {
  check(!path.empty() || random, place("path"), " is missing: a Hugging Face folder or a GGUF file");
  check(path.empty() || !random, place("path"), " and 'model.random' exclude each other");
}

std::vector<NewToken> new_tokens(const ModelSection& section) {
  std::vector<NewToken> tokens;
  for (const auto& text : section.new_tokens) tokens.push_back({text, false});
  for (const auto& text : section.new_special_tokens) tokens.push_back({text, true});
  return tokens;
}

void StudentConfig::validate(const Place& place) const {
  check(!keep_layers.empty(), place("keep_layers"),
        " is missing: the teacher's layers that the student keeps, such as [0, 1, 3]");
  for (size_t i = 0; i < keep_layers.size(); ++i)
    check(keep_layers[i] >= 0 && (i == 0 || keep_layers[i] > keep_layers[i - 1]), place("keep_layers"),
          " must be rising numbers from 0, found ", keep_layers[i],
          i > 0 ? concat(" after ", keep_layers[i - 1]) : "");
}

void AnswersConfig::validate(const Place& place) const {
  check(answers >= 0, place("answers"), " must be at least 0, found ", answers);
  check(batch_size >= 1 && batch_size <= 4096, place("batch_size"), " must be from 1 to 4096, found ",
        batch_size);
}

void TrainSection::validate(const Place& place) const {
  train.validate(place);
  check(train.objective != ObjectiveKind::kKto, place("objective"),
        ": kto compares answers to other questions with the base at every step, which a full fine-tune no "
        "longer "
        "has; use it in 'lora.train', or dpo or orpo here");
}

void LoraSection::validate(const Place& place) const {
  lora.validate(place);
  check(tenants.empty() || tenant_files.empty(), place("tenant_files"),
        " and 'lora.tenants' exclude each other");
  check(!tenants.empty() || !tenant_files.empty(), place("tenants"),
        " is missing: the tenants to train an adapter for, or [\"*\"] for all of the corpus");
  std::set<std::string> seen;
  for (const auto& tenant : tenants) {
    if (tenant == kEveryTenant) {
      check(tenants.size() == 1, place("tenants"), ": '*' stands for all tenants, expected it alone");
      continue;
    }
    check(is_file_name(tenant), place("tenants"), ": '", tenant,
          "' cannot be a tenant's name (letters, digits, '-', '_', '.')");
    check(seen.insert(tenant).second, place("tenants"), ": '", tenant, "' stands twice");
  }
  for (const auto& [tenant, settings] : overrides)
    check(tenants == std::vector<std::string>{kEveryTenant} || !tenant_files.empty() || seen.contains(tenant),
          settings.key_where, ": 'lora.overrides.", tenant, "' is for no tenant of 'lora.tenants'",
          did_you_mean("", tenant, tenants));
  for (const auto& [name, settings] : candidates)
    check(is_file_name(name), settings.key_where, ": '", name,
          "' cannot be a candidate's name (letters, digits, '-', '_', '.')");
  // Laid over the defaults here, so that a wrong key of any of them is found before anything runs.
  std::vector<std::string> all = names_of(overrides);
  all.emplace_back(kEveryTenant);
  adapter_jobs(*this, all);
}

std::string AdapterJob::step() const {
  return "lora/" + tenant + (candidate.empty() ? "" : "/candidates/" + candidate);
}

std::vector<AdapterJob> adapter_jobs(const LoraSection& section, const std::vector<std::string>& tenants) {
  std::vector<AdapterJob> jobs;
  for (const auto& tenant : tenants) {
    AdapterJob job{tenant, "", {section.lora, section.train}};
    if (const auto own = section.overrides.find(tenant); own != section.overrides.end())
      read_struct(own->second, "lora.overrides." + tenant, job.settings);
    if (section.candidates.empty()) jobs.push_back(job);
    for (const auto& [name, settings] : section.candidates) {
      AdapterJob one = job;
      one.candidate = name;
      read_struct(settings, "lora.candidates." + name, one.settings);
      jobs.push_back(std::move(one));
    }
  }
  return jobs;
}

void EvaluateSection::validate(const Place& place) const {
  check(tokens >= 1, place("tokens"), " must be at least 1, found ", tokens);
  check(sample_tokens >= 0, place("sample_tokens"), " must be at least 0, found ", sample_tokens);
}

void Recipe::validate(const Place& place) const {
  check(!name.empty(), place("name"), " is missing: what the job is called");
  check(is_file_name(name), place("name"),
        " must be usable as a folder's name (letters, digits, '-', '_', '.'), found '", name, "'");
  check(!period.empty(), place("period"),
        " is missing: the month that the job is about, such as 2026-05 (it is never taken from the clock)");
  check(names_a_month(period), place("period"), " must be YYYY-MM, such as 2026-05, found '", period, "'");
  check(!output.empty(), place("output"), " is empty: expected the folder of the runs");
}

std::string LoadedRecipe::place(const std::string& dotted_key) const {
  const Setting* at = &root;
  std::string where = root.where;
  std::string rest = dotted_key;
  while (at != nullptr && !rest.empty()) {
    const size_t dot = rest.find('.');
    at = at->find(rest.substr(0, dot));
    if (at != nullptr) where = dot == std::string::npos || at->key_where.empty() ? at->where : at->key_where;
    rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
  }
  return where + ": '" + dotted_key + "'";
}

fs::path LoadedRecipe::resolve(const std::string& path) const {
  return fs::path(path).is_absolute() ? fs::path(path) : (folder / path).lexically_normal();
}

fs::path LoadedRecipe::run_folder() const { return fs::path(recipe.output) / recipe.name / recipe.period; }

fs::path LoadedRecipe::erasure_file() const { return fs::path(recipe.output) / recipe.name / "erased.json"; }

std::string reference(const std::string& model) {
  return !model.empty() && model[0] == '@' ? model.substr(1) : "";
}

std::string released_model(const Recipe& r) {
  if (r.export_ && !r.export_->model.empty()) return r.export_->model;
  if (r.lora) return r.lora->model;
  return r.train ? "@train" : r.distill ? "@distill" : "@model";
}

LoadedRecipe parse_recipe(Setting root, const fs::path& file, const std::vector<std::string>& overrides) {
  for (const auto& o : overrides) override_setting(root, o);
  anchor_command_line(root);
  if (root.where.empty()) root.where = file.string();
  check(root.kind == Setting::Kind::kMap, root.where,
        ": expected the sections of a recipe (name, period, model, ...)");
  for (const auto& [key, value] : root.members) {
    const bool section = std::find(kSections.begin(), kSections.end(), key) != kSections.end();
    check(!section || value.kind != Setting::Kind::kNull || value.where.starts_with("command line: "),
          value.key_where, ": section '", key, "' is empty: write '", key,
          ": {}' to run the step with its defaults, or take the line out");
  }
  check(root.find("model") != nullptr, root.where, ": 'model' is missing: the section that names the model");
  LoadedRecipe loaded;
  loaded.recipe = read_config<Recipe>(root, "");
  loaded.file = file;
  loaded.folder = file.parent_path();
  loaded.root = std::move(root);
  read_tenant_files(loaded);
  check_references(loaded);
  return loaded;
}

LoadedRecipe load_recipe(const fs::path& file, const std::vector<std::string>& overrides) {
  return parse_recipe(read_settings(file), file, overrides);
}

std::string resolved_recipe(const LoadedRecipe& loaded) {
  Recipe r = loaded.recipe;
  const auto absolute = [&](std::string& path) {
    if (!path.empty() && path[0] != '@' && path != "-")
      path = fs::absolute(loaded.resolve(path)).lexically_normal().string();
  };
  absolute(r.model.path);
  if (r.model.random) absolute(r.model.random->tokenizer);
  if (r.corpus) {
    for (auto& input : r.corpus->inputs) absolute(input);
    for (auto& source : r.corpus->sources)
      for (auto& path : source.paths) absolute(path);
    absolute(r.corpus->contract.previous);
    absolute(r.corpus->duplicates.index);
    absolute(r.corpus->split.ledger);
    for (auto& from : r.corpus->mix.replay_from) absolute(from);
    for (auto& set : r.corpus->decontaminate.sets) absolute(set.path);
  }
  if (r.train) absolute(r.train->model);
  if (r.lora) {
    absolute(r.lora->model);
    absolute(r.lora->lora.start);
    for (auto* laid_over : {&r.lora->overrides, &r.lora->candidates})
      for (auto& [name, settings] : *laid_over)
        for (auto& [key, value] : settings.members)
          if (key == "start") absolute(value.scalar);
  }
  if (r.export_) absolute(r.export_->model);
  // A step that is not there stays out: an empty section is refused when a recipe is read.
  std::string out;
  const std::string text = write_config(r);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin) + 1;
    const std::string line = text.substr(begin, end - begin);
    if (line[0] == ' ' || !line.ends_with(": null\n")) out += line;
    begin = end;
  }
  return out;
}

}  // namespace decant
