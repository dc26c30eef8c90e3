// The native tests: `lastlayer_native_tests [--quick] [--no-fork]`. Built with -DLASTLAYER_TESTS=ON, for the
// sanitizers (-DLASTLAYER_SANITIZE=address,undefined or thread) and for emulators.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "dispatch.hpp"
#include "problem.hpp"

int main(int count, char** arguments) {
  using namespace lastlayer;
  using namespace lastlayer::tests;
  auto given = [&](const char* name) {
    bool found = false;
    for (int i = 1; i < count; ++i) found |= std::strcmp(arguments[i], name) == 0;
    return found;
  };
  bool quick = given("--quick");
  const bool forks = !given("--no-fork");  // an emulator with threads may not survive a fork
#if defined(__SANITIZE_THREAD__)
  quick = true;  // what it can find is in the threads
#endif
  std::printf("instruction sets:");
  for (const Table* table : available()) std::printf(" %s", table->name);
  std::printf("\n");
  const std::pair<const char*, std::function<void()>> groups[] = {
      {"elementary", test_elementary},           {"digest", test_digest},
      {"exact sums", test_exact_sums},           {"tally", [&] { test_tally(quick); }},
      {"linear", [&] { test_linear(quick); }},   {"threads", [&] { test_threads(quick, forks); }},
      {"kernels", [&] { test_kernels(quick); }}, {"large results", [&] { test_large(quick); }},
  };
  int failed = 0;
  for (const auto& group : groups) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    try {
      group.second();
      std::printf("%s: passed, %.1f s\n", group.first,
                  std::chrono::duration<double>(Clock::now() - begin).count());
    } catch (const std::exception& e) {
      ++failed;
      std::printf("%s: FAILED\n  %s\n", group.first, e.what());
    }
    std::fflush(stdout);
  }
  return failed != 0;
}
