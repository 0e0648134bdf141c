// What LAMMPS looks for when it loads the library: it registers pair_style d3torch. Only the C
// interface of LAMMPS is used until the versions are known to agree, since classes are laid out
// differently in each.
#include <mpi.h>

#include <cstring>
#include <string>

#include "library.h"
#include "lmptype.h"
#include "pair_d3torch.h"

namespace {

// The plugin interface: a record of what is offered, which LAMMPS copies.
// https://docs.lammps.org/Developer_plugins.html
struct PluginRecord {
  const char *version, *style, *name, *info, *author;
  void* (*create)(void*);
  void* handle;
};
using Register = void (*)(PluginRecord*, void*);

// The other kind of MPI, if that of this process is not the one whose mpi.h was compiled against.
std::string other_mpi() {
#if MPI_VERSION >= 3
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
#if defined(OPEN_MPI)
  const bool other = !std::strstr(text, "Open MPI");
#else
  const bool other = std::strstr(text, "Open MPI");
#endif
  if (other) return std::string(text, 0, std::strcspn(text, ",\n"));
#endif
  return "";
}

#define D3TORCH_TEXT(x) #x
#define D3TORCH_TEXT_OF(x) D3TORCH_TEXT(x)

// Whole, so that built_for() of d3torch_lammps finds the version in the library.
constexpr char another_version[] = "expected the LAMMPS version " D3TORCH_TEXT_OF(
    D3TORCH_LAMMPS_VERSION) " that it was built for, got ";
constexpr char again[] = "; build it for this LAMMPS: python -m d3torch_lammps.build --help";

// Does not return.
void refuse(void* lammps, const std::string& why) {
  lammps_error(lammps, LMP_ERROR_ALL, ("pair_style d3torch: " + why).c_str());
}

// Why the plugin cannot work in this LAMMPS, or nothing.
std::string mismatch(void* lammps) {
  const int version = lammps_version(lammps);
  if (version != D3TORCH_LAMMPS_VERSION) return another_version + std::to_string(version) + again;
  if (lammps_extract_setting(lammps, "tagint") != int(sizeof(LAMMPS_NS::tagint)) ||
      lammps_extract_setting(lammps, "bigint") != int(sizeof(LAMMPS_NS::bigint)))
    return "expected a LAMMPS with integers of the sizes that it was built for" +
           std::string(again);
  const std::string mpi = other_mpi();
  return mpi.empty() ? "" : "expected the kind of MPI that it was built for, got " + mpi + again;
}

void* create(void* lammps) {
  const std::string why = mismatch(lammps);
  if (!why.empty()) refuse(lammps, why);
  auto* pair = new LAMMPS_NS::PairD3Torch(static_cast<LAMMPS_NS::LAMMPS*>(lammps));
  if (!pair->laid_out_as_compiled()) refuse(lammps, LAMMPS_NS::another_update);
  return static_cast<LAMMPS_NS::Pair*>(pair);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle,
                                                                         void* add) {
  // LAMMPS announces another version than its own by a line of its own; create() says more, so it
  // is given what it wants
  static const char* text =
      static_cast<const char*>(lammps_extract_global(lammps, "lammps_version"));
  PluginRecord record{text,   "pair", "d3torch", "D3 dispersion", "the d3torch developers",
                      create, handle};
  reinterpret_cast<Register>(add)(&record, lammps);
}
