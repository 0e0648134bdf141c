// The sentences that findings end the program with.
#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cuda_runtime.h"

namespace emulation {

namespace {

// The source line of an instruction, by addr2line.
std::string line_of(const void* code) {
  Dl_info info;
  if (!code || !dladdr(code, &info) || !info.dli_fname) return "";
  const unsigned long offset = (unsigned long)code - (unsigned long)info.dli_fbase - 1;
  char command[4096], line[1024];
  std::snprintf(command, sizeof command, "addr2line -i -s -p -e '%s' 0x%lx 2>/dev/null",
                info.dli_fname, offset);
  std::string text;
  if (FILE* pipe = popen(command, "r")) {
    while (std::fgets(line, sizeof line, pipe)) text += line;
    pclose(pipe);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text)
    if (c == '\n') c = ';';
  return text;
}

// The name of a kernel, without its parameters.
std::string name_of(const void* kernel) {
  Dl_info info;
  if (!kernel || !dladdr(kernel, &info) || !info.dli_sname) return "?";
  int status = 0;
  char* text = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  std::string name = text ? text : info.dli_sname;
  std::free(text);
  const size_t space = name.find("void "), end = name.find('(');
  return name.substr(space == 0 ? 5 : 0, end == std::string::npos ? end : end - (space ? 0 : 5));
}

}  // namespace

void fail(const void* code, const char* format, ...) {
  running.active = false;
  va_list values;
  va_start(values, format);
  std::fprintf(stderr, "\nemulation: ");
  std::vfprintf(stderr, format, values);
  va_end(values);
  if (running.kernel)
    std::fprintf(stderr, "\n  kernel %s, block %u of %u, thread %u of %u",
                 name_of(running.kernel).c_str(), running.block, gridDim.x, running.thread,
                 blockDim.x);
  const std::string line = line_of(code);
  if (!line.empty()) std::fprintf(stderr, "\n  at %s", line.c_str());
  std::fprintf(stderr, "\n");
  std::fflush(stderr);
  std::abort();
}

}  // namespace emulation
