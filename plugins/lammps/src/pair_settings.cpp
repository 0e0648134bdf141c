// What the input script says of the pair style, and what a restart file keeps of it.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "memory.h"
#include "pair_d3torch.h"
#include "update.h"
#include "utils.h"

namespace LAMMPS_NS {
namespace {

// Angstrom; a longer cutoff is a number in another unit, such as 9000 bohr^2, which is 50 angstrom.
constexpr double longest_cutoff = 1000;

// What `converged` stands for, and the width that a tail brings, angstrom.
constexpr double converged_cutoff = 40 * 0.5291772109044924, tail_width = 2;

std::string text(double x) { return fmt::format("{}", x); }

}  // namespace

double PairD3Torch::number(const char* name, const char* text) const {
  char* end;
  const double x = std::strtod(text, &end);
  if (end == text || *end || !std::isfinite(x))
    refuse(std::string("expected ") + name + " to be a number, got " + text);
  return x;
}

void PairD3Torch::settings(int narg, char** arg) {
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real") refuse("expected units metal or real, got " + units);
  const bool converged = narg > 2 && !std::strcmp(arg[2], "converged");
  if (narg < 4 && !converged)
    refuse(
        "expected bj XC CUTOFF CN_CUTOFF (or bj XC converged) [width W] [tail yes|no] [reference "
        "2010|2024], got " +
        std::to_string(narg) + " words");
  if (utils::lowercase(arg[0]) != "bj")
    refuse(std::string("expected the damping bj (Becke-Johnson), got ") + arg[0]);
  settings_ = {};
  if (std::strlen(arg[1]) >= sizeof settings_.xc)
    refuse(std::string("expected a functional such as pbe, got ") + arg[1]);
  std::strcpy(settings_.xc, arg[1]);
  std::strcpy(settings_.reference, "2024");
  settings_.tail = converged;
  settings_.width = -1;  // not given
  settings_.cutoff = converged ? converged_cutoff : number("the cutoff", arg[2]);
  settings_.cn_cutoff = converged ? converged_cutoff : number("the cutoff of CN", arg[3]);
  const int known = converged ? 3 : 4;
  read_keywords(narg - known, arg + known);
  apply_settings();
}

void PairD3Torch::read_keywords(int narg, char** arg) {
  for (int k = 0; k < narg; k += 2) {
    const std::string word = arg[k];
    if (word != "width" && word != "tail" && word != "reference")
      refuse("expected the keyword width, tail or reference, got " + word);
    if (k + 1 == narg) refuse("expected a value after " + word);
    if (word == "width")
      read_width(arg[k + 1]);
    else if (word == "tail")
      settings_.tail = yes_or_no(word, arg[k + 1]);
    else if (std::strlen(arg[k + 1]) < sizeof settings_.reference)
      std::strcpy(settings_.reference, arg[k + 1]);
    else
      refuse(std::string("expected reference 2010 or 2024, got ") + arg[k + 1]);
  }
  if (settings_.width < 0) settings_.width = settings_.tail ? tail_width : 0;
}

void PairD3Torch::read_width(const char* text_of_width) {
  settings_.width = number("the width", text_of_width);
  if (settings_.width < 0)
    refuse("expected 0 <= width < cutoff = " + text(settings_.cutoff) + ", got " +
           text(settings_.width));
}

bool PairD3Torch::yes_or_no(const std::string& word, const char* given) const {
  if (std::strcmp(given, "yes") && std::strcmp(given, "no"))
    refuse("expected " + word + " yes or no, got " + given);
  return !std::strcmp(given, "yes");
}

void PairD3Torch::check_cutoff(const std::string& name, double given) const {
  if (!(given > 0)) refuse("expected a positive " + name + ", got " + text(given));
  if (given > longest_cutoff)
    refuse("expected a " + name + " of at most " + text(longest_cutoff) + " angstrom, got " +
           text(given) + ": lengths here are in angstrom; is that a number in bohr^2?");
}

void PairD3Torch::apply_settings() {
  const auto& s = settings_;
  check_cutoff("cutoff", s.cutoff);
  check_cutoff("cutoff of CN", s.cn_cutoff);
  if (!(s.width >= 0 && s.width < s.cutoff))
    refuse("expected 0 <= width < cutoff = " + text(s.cutoff) + ", got " + text(s.width));
  if (!d3::last_element(s.reference))
    refuse(std::string("expected reference 2010 or 2024, got ") + s.reference);
  if (s.tail && s.width == 0 && comm->me == 0)
    error->warning(FLERR,
                   "pair_style d3torch: a tail at a hard cutoff, width 0, corrects energies, but "
                   "the pressure by half only: leave out the width, which is 2 A then");
  bool three_body = false;
  if (!d3::find_functional(s.xc, damping_, &three_body))
    refuse(std::string("expected a functional with Becke-Johnson parameters, such as pbe, got ") +
           s.xc);
  if (three_body && comm->me == 0)
    error->warning(FLERR, std::string("pair_style d3torch: ") + s.xc +
                              " is defined with the three-body term of D3, which is left out here");
}

void PairD3Torch::allocate() {
  allocated = 1;
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  std::fill_n(&setflag[0][0], n * n, 0);
  map = new int[n];
}

void PairD3Torch::coeff(int narg, char** arg) {
  if (narg != atom->ntypes + 2)
    refuse("expected pair_coeff * * and one element or NULL for each of " +
           std::to_string(atom->ntypes) + " types, got " + std::to_string(narg - 2));
  set_elements(narg - 2, arg + 2);
}

void PairD3Torch::set_elements(int n, char** names) {
  if (!allocated) allocate();
  if (std::all_of(names, names + n, [](const char* name) { return !std::strcmp(name, "NULL"); }))
    refuse("expected an element, got NULL for every atom type");
  for (int k = 0; k < n; ++k)
    if (std::strcmp(names[k], "NULL") && !d3::atomic_number(names[k]))
      refuse(std::string("expected a chemical symbol such as Si, or NULL, got ") + names[k]);
  map_element2type(n, names);
  numbers_.clear();
  for (int k = 0; k < nelements; ++k) numbers_.push_back(d3::atomic_number(elements[k]));
}

// ---- restart ----

void PairD3Torch::write_restart_settings(FILE* file) {
  std::fwrite(&settings_, sizeof settings_, 1, file);
}

void PairD3Torch::read_restart_settings(FILE* file) {
  if (comm->me == 0) utils::sfread(FLERR, &settings_, sizeof settings_, 1, file, nullptr, error);
  MPI_Bcast(&settings_, sizeof settings_, MPI_CHAR, 0, world);
  apply_settings();
}

void PairD3Torch::write_restart(FILE* file) {
  write_restart_settings(file);
  for (int type = 1; type <= atom->ntypes; ++type) {
    char name[8] = "NULL";
    if (map[type] >= 0) std::strncpy(name, elements[map[type]], sizeof name - 1);
    std::fwrite(name, sizeof name, 1, file);
  }
}

void PairD3Torch::read_restart(FILE* file) {
  read_restart_settings(file);
  std::vector<char> names(8 * atom->ntypes);
  if (comm->me == 0) utils::sfread(FLERR, names.data(), 8, atom->ntypes, file, nullptr, error);
  MPI_Bcast(names.data(), int(names.size()), MPI_CHAR, 0, world);
  std::vector<char*> words;
  for (int type = 0; type < atom->ntypes; ++type) words.push_back(&names[8 * type]);
  set_elements(atom->ntypes, words.data());
}

}  // namespace LAMMPS_NS
