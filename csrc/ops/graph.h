// Autograd of ops whose arguments are structs (see flat.h). A rule says what an op is and what its
// derivatives are; the rest, which is the same for all, is here.
#pragma once
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/csrc/autograd/custom_function.h>

#include <string>
#include <tuple>
#include <utility>

#include "ops/checks.h"
#include "ops/flat.h"

namespace d3 {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// ---- results of an op as the list that torch wants, and back ----

inline at::Tensor listed(const at::Tensor& result) { return result; }
template <class... T> variable_list listed(const std::tuple<T...>& results) {
  return std::apply([](const auto&... t) { return variable_list{t...}; }, results);
}

template <class Result, size_t... k>
Result unlisted(const variable_list& list, std::index_sequence<k...>) {
  return {list[k]...};
}
template <class Result> Result unlisted(const variable_list& list) {
  return unlisted<Result>(list, std::make_index_sequence<std::tuple_size_v<Result>>());
}
template <class Result> Result unlisted(const at::Tensor& result) { return result; }

// ---- structs kept from forward to backward ----

struct Keep {
  AutogradContext* ctx;
  variable_list tensors;

  void operator()(const at::Tensor& t) { tensors.push_back(t); }
  void operator()(const MaybeTensor& t) { tensors.push_back(t.value_or(at::Tensor())); }
  template <class Number> void operator()(Number x) {
    ctx->saved_data["number" + std::to_string(ctx->saved_data.size())] = x;
  }
};

// Saves the fields of structs, and more tensors behind them.
template <class... S>
void keep(AutogradContext* ctx, const std::tuple<S...>& structs, const variable_list& more = {}) {
  Keep one{ctx, {}};
  const auto fields = std::apply([](const S&... s) { return fields_of(s...); }, structs);
  std::apply([&](const auto&... field) { (one(field), ...); }, fields);
  one.tensors.insert(one.tensors.end(), more.begin(), more.end());
  ctx->save_for_backward(one.tensors);
}

struct Give {
  AutogradContext* ctx;
  variable_list tensors;
  size_t n_tensors = 0, n_numbers = 0;

  void operator()(at::Tensor& t) { t = tensors[n_tensors++]; }
  void operator()(MaybeTensor& t) {
    const at::Tensor& saved = tensors[n_tensors++];
    if (saved.defined()) t = saved;
  }
  template <class Number> void operator()(Number& x) {
    x = ctx->saved_data["number" + std::to_string(n_numbers++)].template to<Number>();
  }
};

// Returns the structs that keep() saved, and the tensors behind them.
template <class... S> std::pair<std::tuple<S...>, variable_list> kept(AutogradContext* ctx) {
  std::tuple<S...> structs;
  Give one{ctx, ctx->get_saved_variables()};
  const auto fields = std::apply([](S&... s) { return fields_of(s...); }, structs);
  std::apply([&](auto&... field) { (one(field), ...); }, fields);
  const auto rest = one.tensors.begin() + one.n_tensors;
  return {std::move(structs), variable_list(rest, one.tensors.end())};
}

// ---- an op in the graph ----

// A rule has: Structs, the types of the arguments; op(), the op below autograd; and
// backward(gradients of the results, arguments...), the gradients of the first fields: the other
// fields have none.
template <class Rule, class Structs = typename Rule::Structs, class Fields = void> struct Graph;

template <class Rule, class... S>
struct Graph<Rule, Types<S...>, void> : Graph<Rule, Types<S...>, Flat<S...>> {};

template <class Rule, class... S, class... P>
struct Graph<Rule, Types<S...>, Types<P...>> : Function<Graph<Rule, Types<S...>, Types<P...>>> {
  static auto forward(AutogradContext* ctx, P... fields) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto structs = packed(Types<S...>(), fields...);
    keep(ctx, structs);
    return listed(std::apply(Rule::op(), structs));
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto structs = kept<S...>(ctx).first;
    const auto back = [&](const S&... s) { return Rule::backward(gradients, s...); };
    variable_list grads = std::apply(back, structs);
    grads.resize(sizeof...(P));
    return grads;
  }
};

// The end of a chain: its results carry a graph that says in one sentence what it cannot do.
template <class Rule, class Structs = typename Rule::Structs, class Fields = void> struct Leaf;

template <class Rule, class... S>
struct Leaf<Rule, Types<S...>, void> : Leaf<Rule, Types<S...>, Flat<S...>> {};

template <class Rule, class... S, class... P>
struct Leaf<Rule, Types<S...>, Types<P...>> : Function<Leaf<Rule, Types<S...>, Types<P...>>> {
  static auto forward(AutogradContext*, P... fields) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return listed(std::apply(Rule::op(), packed(Types<S...>(), fields...)));
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    Rule::refuse();
    return {};
  }
};

// The kernel of an op on the Autograd key: Node is Graph or Leaf of its rule.
template <class Node, class Result, class... S> Result in_graph(const S&... structs) {
  const auto call = [](const auto&... field) { return apply<Node>(field...); };
  return unlisted<Result>(std::apply(call, fields_of(structs...)));
}

}  // namespace d3
