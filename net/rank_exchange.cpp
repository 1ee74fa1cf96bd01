#include "net/rank_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "config/check.h"
#include "config/limits.h"

namespace troupe {

namespace {

constexpr size_t kHeaderBytes = sizeof(FrameHeader);
/// Rounds that moved something between two looks at the clock.
constexpr unsigned kRoundsPerLook = 64;

}  // namespace

RankExchange::RankExchange(std::unique_ptr<PipeMesh> mesh, uint32_t generation, int first)
    : mesh_(std::move(mesh)),
      generation_(generation),
      first_(first),
      between_(static_cast<size_t>(mesh_->size()), 1) {
  const auto peers = static_cast<size_t>(mesh_->size());
  outs_.reserve(peers);
  ins_.reserve(peers);
  readable_.reserve(peers);
  writable_.reserve(peers);
}

Result<void> RankExchange::start(CallTag tag, CallKind kind, int detail) {
  if (over_) return std::unexpected(*over_);
  if (tag.generation != generation_)
    return fail({ErrorCode::invalid_argument,
                 fmt::format("rank {} made a call of generation {} on the collective of generation "
                             "{}; use the one that its generation formed",
                             named(rank()), tag.generation, generation_),
                 {}});
  if (tag.deadline <= Duration::zero() || tag.deadline > kCollectiveDeadlineMax)
    return fail(
        {ErrorCode::invalid_argument,
         fmt::format("rank {} gave a call {} s; give it more than 0 and at most {} s",
                     named(rank()), to_seconds(tag.deadline), to_seconds(kCollectiveDeadlineMax)),
         {}});
  call_ = {.generation = tag.generation,
           .step = tag.step,
           .seq = tag.seq,
           .kind = kind,
           .detail = static_cast<uint16_t>(detail)};
  allowed_ = tag.deadline;
  until_ = std::chrono::steady_clock::now() + tag.deadline;
  return {};
}

FrameHeader RankExchange::header_of(size_t bytes) const {
  FrameHeader header = call_;
  header.bytes = bytes;
  return header;
}

Result<void> RankExchange::run(std::span<const Out> outs, std::span<const In> ins) {
  outs_.clear();
  ins_.clear();
  for (const Out& out : outs) outs_.push_back({out, header_of(out.body.size())});
  for (const In& in : ins) ins_.push_back({in, {}});
  for (unsigned rounds = 0;;) {
    if (auto going = mesh_->check(); !going) return fail(std::move(going.error()));
    size_t moved = 0;
    bool finished = true;
    for (Outgoing& out : outs_) {
      if (out.finished) continue;
      const auto pushed = push(out);
      if (!pushed) return fail(pushed.error());
      moved += *pushed;
      finished = finished && out.finished;
    }
    for (Incoming& in : ins_) {
      if (in.finished) continue;
      const auto pulled = pull(in);
      if (!pulled) return fail(pulled.error());
      moved += *pulled;
      finished = finished && in.finished;
    }
    if (finished) return {};
    if (moved > 0 && ++rounds % kRoundsPerLook != 0) continue;
    if (moved > 0 && std::chrono::steady_clock::now() < until_) continue;
    if (auto waited = wait(); !waited) return fail(std::move(waited.error()));
  }
}

/// How many bytes went.
Result<size_t> RankExchange::push(Outgoing& out) {
  const int peer = out.to.peer;
  const size_t before = out.sent, all = kHeaderBytes + out.to.body.size();
  if (out.sent < kHeaderBytes) {
    const auto header = std::as_bytes(std::span(&out.header, 1)).subspan(out.sent);
    const auto written = mesh_->write(peer, header);
    if (!written) return written;
    out.sent += *written;
  }
  if (out.sent >= kHeaderBytes && out.sent < all) {
    const auto written = mesh_->write(peer, out.to.body.subspan(out.sent - kHeaderBytes));
    if (!written) return written;
    out.sent += *written;
  }
  const auto flushed = mesh_->flush(peer);
  if (!flushed) return std::unexpected(flushed.error());
  if (out.sent > before) between_[static_cast<size_t>(peer)] = out.sent == all;
  out.finished = out.sent == all && *flushed;
  return out.sent - before;
}

/// How many bytes came.
Result<size_t> RankExchange::pull(Incoming& in) {
  const int peer = in.from.peer;
  const size_t before = in.got;
  if (in.got < kHeaderBytes) {
    const auto header = std::as_writable_bytes(std::span(&in.header, 1)).subspan(in.got);
    const auto read = mesh_->read(peer, header);
    if (!read) return read;
    in.got += *read;
    if (in.got < kHeaderBytes) return in.got - before;
    if (auto accepted = accept(in); !accepted) return std::unexpected(accepted.error());
  }
  const size_t all = kHeaderBytes + in.from.body.size();
  if (in.got < all) {
    const auto read = mesh_->read(peer, in.from.body.subspan(in.got - kHeaderBytes));
    if (!read) return read;
    in.got += *read;
  }
  in.finished = in.got == all;
  return in.got - before;
}

/// The header has come: is it what this rank awaits?
Result<void> RankExchange::accept(const Incoming& in) {
  if (in.header.magic == kFrameMagic && in.header.kind == CallKind::fault) return read_fault(in);
  const FrameHeader expected = header_of(in.from.body.size());
  if (in.header != expected)
    return std::unexpected(divergence(in.header, named(in.from.peer), expected, named(rank())));
  return {};
}

/// A peer gave up. Its reason came in one piece with the header, or is not worth waiting for.
Result<void> RankExchange::read_fault(const Incoming& in) {
  std::array<char, kCollectiveTextBytesMax> text{};
  const size_t length = std::min<size_t>(in.header.bytes, text.size());
  const auto read =
      mesh_->read(in.from.peer, std::as_writable_bytes(std::span(text)).first(length));
  const size_t got = read ? *read : 0;
  Error reason = fault_from(in.header.detail, std::string(text.data(), got));
  if (reason.message.empty())
    reason.message = fmt::format("rank {} gave up; start another generation", named(in.from.peer));
  return std::unexpected(std::move(reason));
}

Result<void> RankExchange::wait() {
  // Bytes that trickle in keep the mesh's wait short, but not this call going.
  if (std::chrono::steady_clock::now() >= until_) return std::unexpected(too_late());
  readable_.clear();
  writable_.clear();
  for (const Incoming& in : ins_)
    if (!in.finished) readable_.push_back(in.from.peer);
  for (const Outgoing& out : outs_)
    if (!out.finished) writable_.push_back(out.to.peer);
  const auto in_time = mesh_->wait({readable_, writable_}, until_);
  if (!in_time) return std::unexpected(in_time.error());
  if (!*in_time) return std::unexpected(too_late());
  return {};
}

Error RankExchange::too_late() const {
  const auto awaited = std::ranges::find(ins_, false, &Incoming::finished);
  const auto full = std::ranges::find(outs_, false, &Outgoing::finished);
  const bool awaits = awaited != ins_.end();
  const char* what = !awaits             ? "could not send all to"
                     : awaited->got == 0 ? "heard nothing from"
                                         : "did not hear all from";
  const int peer = awaits ? awaited->from.peer : full->to.peer;
  const size_t bytes = awaits ? awaited->from.body.size() : full->to.body.size();
  return {
      ErrorCode::deadline_exceeded,
      fmt::format("rank {} {} rank {} for {} ms in {}; start another generation without the "
                  "rank that hangs",
                  named(rank()), what, named(peer), to_ms(allowed_), describe(header_of(bytes))),
      {}};
}

Result<void> RankExchange::fail(Error reason) {
  if (!over_) {
    over_ = std::move(reason);
    mesh_->end(*over_, between_);
  }
  return std::unexpected(*over_);
}

void RankExchange::abort(uint32_t generation) noexcept {
  if (generation >= generation_) mesh_->abort();
}

}  // namespace troupe
