// From the flat argument lists of the dispatcher to structs, and back.
//
// A schema is flat, as saved models call it; everything else passes structs. Such a struct lists
// its fields once, in the order of the schema:
//
//   struct GradCn {
//     Tensor grad_cn;
//     template <class Self> static auto fields(Self& s) { return std::tie(s.grad_cn); }
//   };
//
// For Result f(const A&, const B&), unpacked<f> is the function of the fields of A, then of B, and
// Op<Result, A, B> calls an op of the same fields.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace d3 {

template <class... X> struct Types {};

using MaybeTensor = std::optional<at::Tensor>;

// Tensors go by reference and numbers by value, as the dispatcher passes them.
template <class Field>
using Passed =
    std::conditional_t<std::is_same_v<Field, at::Tensor> || std::is_same_v<Field, MaybeTensor>,
                       const Field&, Field>;

template <class... Field> Types<Passed<Field>...> passed(std::tuple<Field&...>);

// The types of the fields of some structs, one struct after the other.
template <class... S>
using Flat = decltype(passed(std::tuple_cat(S::fields(std::declval<S&>())...)));

// The fields of some structs, as a tuple of references.
template <class... S> auto fields_of(S&... structs) {
  return std::tuple_cat(S::fields(structs)...);
}
template <class... S> auto fields_of(const S&... structs) {
  return std::tuple_cat(S::fields(structs)...);
}

// Structs filled with the values of their fields.
template <class... S, class... P> std::tuple<S...> packed(Types<S...>, P&&... values) {
  std::tuple<S...> structs;
  std::apply([](S&... s) { return fields_of(s...); }, structs) = std::tie(values...);
  return structs;
}

// The struct with contiguous tensors: kernels read raw pointers, which live as long as these.
template <class S> S contiguous(S s) {
  const auto field = [](auto& x) {
    using Field = std::decay_t<decltype(x)>;
    if constexpr (std::is_same_v<Field, at::Tensor>) x = x.contiguous();
    if constexpr (std::is_same_v<Field, MaybeTensor>)
      if (x) x = x->contiguous();
  };
  std::apply([&](auto&... x) { (field(x), ...); }, fields_of(s));
  return s;
}

template <auto f, class Result, class Structs, class Fields> struct Unpacked;

template <auto f, class Result, class... S, class... P>
struct Unpacked<f, Result, Types<S...>, Types<P...>> {
  static Result call(P... values) { return std::apply(f, packed(Types<S...>(), values...)); }
};

template <auto f, class Result, class... S> constexpr auto unpack(Result (*)(const S&...)) {
  return &Unpacked<f, Result, Types<S...>, Flat<S...>>::call;
}

// The flat function of f.
template <auto f> constexpr auto unpacked = unpack<f>(f);

template <class Result, class Fields> struct FlatSignature;
template <class Result, class... P> struct FlatSignature<Result, Types<P...>> {
  using type = Result(P...);
};

// An op of the dispatcher; made once for each name, since finding it takes a look-up of the name.
template <class Result, class... S> class Op {
 public:
  explicit Op(const char* name)
      : handle_(c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>()) {}

  Result operator()(const S&... structs) const {
    const auto call = [this](const auto&... field) { return handle_.call(field...); };
    return std::apply(call, fields_of(structs...));
  }

 private:
  using Signature = typename FlatSignature<Result, Flat<S...>>::type;
  c10::TypedOperatorHandle<Signature> handle_;
};

}  // namespace d3
