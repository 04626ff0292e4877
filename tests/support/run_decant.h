// Runs the program as a user does: arguments, standard input, exit status and both outputs.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace decant::test {

struct Ran {
  int status = -1;  // exit status; 128 + signal when killed
  std::string out, err;
  double peak_mib = 0;  // resident memory at its highest
};

struct RunOptions {
  std::filesystem::path folder;       // working directory
  std::string input;                  // standard input
  uint64_t largest_file = 0;          // RLIMIT_FSIZE in bytes; 0: none
  std::string output;                 // a file for standard output instead of the result
  std::chrono::milliseconds kill{0};  // SIGKILL after this; 0: never
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline Ran run_decant(const std::vector<std::string>& arguments, const RunOptions& options) {
  const auto scratch = options.folder / ".streams";
  std::filesystem::create_directories(scratch);
  spill(scratch / "in", options.input);
  const std::string out = options.output.empty() ? (scratch / "out").string() : options.output;
  std::vector<std::string> words = {DECANT_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto redirect = [](const std::string& path, int flags, int to) {
      const int descriptor = ::open(path.c_str(), flags, 0644);
      if (descriptor < 0 || ::dup2(descriptor, to) < 0) ::_exit(126);
    };
    redirect((scratch / "in").string(), O_RDONLY, 0);
    redirect(out, O_WRONLY | O_CREAT | O_TRUNC, 1);
    redirect((scratch / "err").string(), O_WRONLY | O_CREAT | O_TRUNC, 2);
    if (::chdir(options.folder.c_str()) != 0) ::_exit(126);
    if (options.largest_file > 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{options.largest_file, options.largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  if (options.kill.count() > 0) {
    std::this_thread::sleep_for(options.kill);
    ::kill(child, SIGKILL);
  }
  int status = 0;
  rusage usage{};
  ::wait4(child, &status, 0, &usage);
  Ran ran;
  ran.peak_mib = static_cast<double>(usage.ru_maxrss) / 1024;
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (options.output.empty()) ran.out = slurp(scratch / "out");
  ran.err = slurp(scratch / "err");
  return ran;
}

}  // namespace decant::test
