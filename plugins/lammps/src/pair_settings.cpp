// What the input script says of the pair style, and what a restart file keeps of it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

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

// What `converged` stands for, which is the cutoff of the three-body term too, and the width that a
// tail brings, angstrom.
constexpr double converged_cutoff = 40 * 0.5291772109044924, tail_width = 2;

constexpr double not_given = std::numeric_limits<double>::quiet_NaN();

// LAMMPS ends the words of a style in a hybrid where a word is the name of another style.
constexpr const char* taken_by_hybrid =
    ": in a pair_style hybrid, zero and bop are names of other styles, so write original and BOP";

std::string text(double x) { return fmt::format("{}", x); }

}  // namespace

double PairD3Torch::number(const char* name, const char* text) const {
  char* end;
  const double x = std::strtod(text, &end);
  if (end == text || *end || !std::isfinite(x))
    refuse(std::string("expected ") + name + " to be a number, got " + text);
  return x;
}

void PairD3Torch::check_units() const {
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real") refuse("expected units metal or real, got " + units);
}

// Words that are refused change nothing.
void PairD3Torch::settings(int narg, char** arg) {
  const Settings before = settings_;
  try {
    read_settings(narg, arg);
  } catch (...) {
    settings_ = before;
    throw;
  }
}

void PairD3Torch::read_settings(int narg, char** arg) {
  check_units();
  const bool converged = narg > 2 && !std::strcmp(arg[2], "converged");
  if (narg < 4 && !converged)
    refuse(
        "expected DAMPING XC CUTOFF CN_CUTOFF (or DAMPING XC converged) [width W] [tail yes|no] "
        "[reference 2010|2024] [s9 S] [atm_cutoff A] [atm_width A], got " +
        std::to_string(std::max(narg, 0)) + " words" + (narg < 2 ? taken_by_hybrid : ""));
  const int variant = d3::variant_of(arg[0]);
  if (variant < 0)
    refuse(std::string("expected the damping zero, zerom, bj or bjm, got ") + arg[0]);
  settings_ = {};
  if (std::strlen(arg[1]) >= sizeof settings_.xc)
    refuse(std::string("expected a functional such as pbe, got ") + arg[1]);
  std::strcpy(settings_.xc, arg[1]);
  std::memcpy(settings_.reference, "2024", sizeof settings_.reference);
  settings_.variant = char(variant);
  settings_.tail = converged;
  settings_.width = settings_.s9 = settings_.atm_cutoff = settings_.atm_width = not_given;
  settings_.cutoff = converged ? converged_cutoff : number("the cutoff", arg[2]);
  settings_.cn_cutoff = converged ? converged_cutoff : number("the cutoff of CN", arg[3]);
  const int known = converged ? 3 : 4;
  read_keywords(narg - known, arg + known);
  fill_in();
  apply_settings();
}

void PairD3Torch::read_keywords(int narg, char** arg) {
  const std::vector<std::string> known = {"width", "tail",       "reference",
                                          "s9",    "atm_cutoff", "atm_width"};
  for (int k = 0; k < narg; k += 2) {
    const std::string word = arg[k];
    if (std::find(known.begin(), known.end(), word) == known.end())
      refuse("expected the keyword width, tail, reference, s9, atm_cutoff or atm_width, got " +
             word);
    if (k + 1 == narg) refuse("expected a value after " + word);
    read_keyword(word, arg[k + 1]);
  }
}

void PairD3Torch::read_keyword(const std::string& word, const char* given) {
  if (word == "tail")
    settings_.tail = yes_or_no(word, given);
  else if (word == "reference" && d3::last_element(given))
    std::memcpy(settings_.reference, given, sizeof settings_.reference);
  else if (word == "reference")
    refuse(std::string("expected reference 2010 or 2024, got ") + given);
  else if (word == "width")
    settings_.width = number("the width", given);
  else if (word == "s9")
    settings_.s9 = number("s9", given);
  else if (word == "atm_cutoff")
    settings_.atm_cutoff = number("atm_cutoff", given);
  else
    settings_.atm_width = number("atm_width", given);
}

// What no keyword has told. Without a three-body term there is no reach of it.
void PairD3Torch::fill_in() {
  auto& s = settings_;
  const auto fill = [](double& number, double value) {
    if (std::isnan(number)) number = value;
  };
  if (std::isnan(s.s9) && !(std::isnan(s.atm_cutoff) && std::isnan(s.atm_width)))
    refuse("expected s9 beside atm_cutoff and atm_width, which belong to the three-body term");
  fill(s.width, s.tail ? tail_width : 0);
  fill(s.s9, 0);
  fill(s.atm_cutoff, converged_cutoff);
  fill(s.atm_width, 0);
  if (s.s9 == 0) s.atm_cutoff = s.atm_width = 0;
}

bool PairD3Torch::yes_or_no(const std::string& word, const char* given) const {
  if (std::strcmp(given, "yes") && std::strcmp(given, "no"))
    refuse("expected " + word + " yes or no, got " + given);
  return !std::strcmp(given, "yes");
}

std::string PairD3Torch::reference() const {
  return std::string(settings_.reference, sizeof settings_.reference);
}

void PairD3Torch::check_cutoff(const std::string& name, double given) const {
  if (!(given > 0)) refuse("expected a positive " + name + ", got " + text(given));
  if (given > longest_cutoff)
    refuse("expected a " + name + " of at most " + text(longest_cutoff) + " angstrom, got " +
           text(given) + ": lengths here are in angstrom; is that a number in bohr^2?");
}

void PairD3Torch::check_width(const std::string& name, double given, const std::string& of,
                              double cutoff) const {
  if (!(given >= 0 && given < cutoff))
    refuse("expected 0 <= " + name + " < " + of + " = " + text(cutoff) + ", got " + text(given));
}

void PairD3Torch::check_settings() const {
  const auto& s = settings_;
  check_cutoff("cutoff", s.cutoff);
  check_cutoff("cutoff of CN", s.cn_cutoff);
  check_width("width", s.width, "cutoff", s.cutoff);
  if (s.s9 != 0) {
    check_cutoff("three-body cutoff", s.atm_cutoff);
    check_width("atm_width", s.atm_width, "atm_cutoff", s.atm_cutoff);
  }
  if (!d3::last_element(reference())) refuse("expected reference 2010 or 2024, got " + reference());
  if (s.variant < 0 || s.variant >= d3::n_variants)
    refuse("expected a restart file with damping zero, zerom, bj or bjm, got number " +
           std::to_string(s.variant));
}

void PairD3Torch::apply_settings() {
  const auto& s = settings_;
  check_settings();
  if (s.tail && s.width == 0 && comm->me == 0)
    error->warning(FLERR,
                   "pair_style d3torch: a tail at a hard cutoff, width 0, corrects energies, but "
                   "the pressure by half only: leave out the width, which is 2 A then");
  find_functional();
}

void PairD3Torch::find_functional() {
  const auto& s = settings_;
  bool three_body = false;
  if (!d3::find_functional(s.xc, s.variant, damping_, &three_body)) {
    const std::string has = d3::variants_with(s.xc);
    refuse("expected a functional with " + d3::variant_at(s.variant).words +
           " parameters, such as pbe, got " + s.xc + (has.empty() ? "" : ", which has: " + has));
  }
  if (three_body && s.s9 == 0 && comm->me == 0)
    error->warning(FLERR, std::string("pair_style d3torch: ") + s.xc +
                              " is defined with the three-body term of D3, which is left out "
                              "here: add it with s9 1");
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

// What every version writes, and what more there may be.
void PairD3Torch::write_restart_settings(FILE* file) {
  static_assert(offsetof(Settings, s9) == 96, "restart files of earlier versions are read");
  Settings s = settings_;
  s.more = s.variant != d3::variant_of("bj") || s.s9 != 0 ? '+' : 0;
  std::fwrite(&s, s.more ? sizeof s : offsetof(Settings, s9), 1, file);
}

void PairD3Torch::read_restart_settings(FILE* file) {
  settings_ = {};
  constexpr size_t first = offsetof(Settings, s9), rest = sizeof settings_ - first;
  if (comm->me == 0) utils::sfread(FLERR, &settings_, first, 1, file, nullptr, error);
  if (comm->me == 0 && settings_.more)
    utils::sfread(FLERR, &settings_.s9, rest, 1, file, nullptr, error);
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
