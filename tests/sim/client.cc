#include "tests/sim/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "server/base/errors.h"
#include "tests/sim/push_call.h"

namespace stepback::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kTimeout = seconds(4);
constexpr int kAnswersRemembered = 8;
constexpr size_t kPushesMax = 1000;  // ten bits of `samples` count them

bool EndsSession(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return absl::IsUnavailable(status) || reason == "FENCED" || reason == "NO_SESSION" ||
         reason == "SESSION_EXPIRED" || reason == "ROLLED_BACK" || reason == "SEQUENCE_GAP";
}

std::vector<float> Delta(const Plan& plan, size_t client, uint64_t sequence, float unit) {
  std::vector<float> values(2 * plan.clients + 1);
  values[client] = -unit;
  values[plan.clients + client] = -unit * static_cast<float>(sequence);
  values[2 * plan.clients] = -unit;
  return values;
}

}  // namespace

Client::Client(Context* context, size_t index)
    : context_(context), index_(index), window_(1 + context->random->Below(5)) {}

// The last pushes of a BUFFERED model may stay in an open round, which only others could close; those of a
// SYNC model until the others have left.
bool Client::finished() const {
  const bool open_round = context_->plan->spec.rounds.policy == RoundPolicy::kBuffered;
  return session_ == Session::kDone || (open_round && session_ == Session::kIn && all_decided());
}

bool Client::may_leave() const {
  size_t last = pushes_.size();  // refused pushes need no disk
  while (last > 0 && !pushes_[last - 1].accepted) --last;
  const ModelSpec& spec = context_->plan->spec;
  const bool waits_for_disk =
      spec.rounds.policy != RoundPolicy::kSync && spec.durability != Durability::kVolatile;
  return all_decided() && (durable_ >= last || !waits_for_disk);
}

bool Client::all_decided() const {
  return finishing_ &&
         std::all_of(pushes_.begin(), pushes_.end(), [](const Push& push) { return push.decided; });
}

void Client::NoteDurable(uint64_t sequence) { durable_ = std::max(durable_, sequence); }

std::vector<bool> Client::accepted_pushes() const {
  std::vector<bool> accepted;
  for (const Push& push : pushes_) accepted.push_back(push.accepted);
  return accepted;
}

size_t Client::accepted() const {
  return static_cast<size_t>(
      std::count_if(pushes_.begin(), pushes_.end(), [](const Push& push) { return push.accepted; }));
}

std::string Client::ToString() const {
  constexpr const char* kSessions[] = {"out", "opening", "in", "done"};
  const auto decided =
      std::count_if(pushes_.begin(), pushes_.end(), [](const Push& push) { return push.decided; });
  return fmt::format(
      "client {}: session {}, epoch {}, base {}, {} pushes, {} decided, {} accepted, {} under way, last "
      "trouble '{}'",
      index_, kSessions[static_cast<int>(session_)], epoch_, base_.ToString(), pushes_.size(), decided,
      accepted(), in_flight(), trouble_);
}

size_t Client::in_flight() const {
  return static_cast<size_t>(
      std::count_if(pushes_.begin(), pushes_.end(), [](const Push& push) { return push.in_flight; }));
}

void Client::Plan(Duration delay) {
  context_->events->After(delay, [this, life = life_] {
    if (life == life_) Act();
  });
}

void Client::Act() {
  if (session_ == Session::kOpening || session_ == Session::kDone) return;
  if (session_ == Session::kOut) return Open();
  Random* const random = context_->random;
  const uint64_t choice = random->Below(100);
  if (may_leave()) return Close();
  if (base_.term == 0 || choice < 20)
    Pull();
  else if (choice < 24)
    Flush();
  else if (choice < 25)
    Close();
  else if (!SendNext() && choice < 60)
    Pull();
  Plan(random->Between(milliseconds(2), milliseconds(300)));
}

template <typename T>
Done<T> Client::Once(Duration timeout, std::function<void(const absl::StatusOr<T>&)> then) {
  const auto answered = std::make_shared<bool>(false);
  Done<T> once = [this, answered, life = life_, then = std::move(then)](const absl::StatusOr<T>& answer) {
    if (!std::exchange(*answered, true) && life == life_) then(answer);
  };
  context_->events->After(timeout, [once] { once(absl::UnavailableError("no answer in time")); });
  return once;
}

template <typename T>
void Client::Call(std::function<void(Handle*, Done<T>)> issue,
                  std::function<void(const absl::StatusOr<T>&)> then) {
  ++context_->commands;
  const Done<T> once = Once<T>(kTimeout, std::move(then));
  context_->network->ToServer(index_, [this, issue = std::move(issue), once] {
    Handle* const model = context_->server->model();
    if (model == nullptr) {
      return context_->network->ToClient(index_,
                                         [once] { once(absl::UnavailableError("the server is down")); });
    }
    issue(model,
          [this, once, incarnation = context_->server->incarnation()](const absl::StatusOr<T>& answer) {
            if (context_->server->incarnation() != incarnation) return;
            if constexpr (requires { answer->durable_sequence; }) {
              // As it is said: what arrives late was promised before a restart that came first.
              if (answer.ok()) context_->oracle->OnDurable(index_, answer->durable_sequence);
            }
            context_->network->ToClient(index_, [once, answer] { once(answer); });
          });
  });
}

void Client::Open() {
  session_ = Session::kOpening;
  const OpenSession request{.client_id = ClientId(index_),
                            .attach = epoch_ != 0 && context_->random->Chance(0.3)};
  Call<SessionOpened>(
      [request](Handle* model, Done<SessionOpened> done) { model->Open(request, std::move(done)); },
      [this](const absl::StatusOr<SessionOpened>& opened) {
        if (opened.ok()) return OnOpened(*opened);
        epoch_ = 0;
        Leave();
      });
}

// Everything above what the server has decided is sent again, also what was decided before a crash.
void Client::OnOpened(const SessionOpened& opened) {
  session_ = Session::kIn;
  epoch_ = opened.session.epoch;
  durable_ = 0;
  NoteDurable(opened.durable_sequence);
  partials_ = opened.partial_uploads;
  base_ = {};
  for (size_t i = 0; i < pushes_.size(); ++i) {
    pushes_[i].in_flight = false;
    if (i + 1 > opened.session.last_sequence) pushes_[i].decided = pushes_[i].accepted = false;
  }
  Beat();
  Pull();
  Plan(milliseconds(5));
}

void Client::Leave() {
  session_ = Session::kOut;
  ++life_;
  for (Push& push : pushes_) push.in_flight = false;
  Plan(context_->random->Between(milliseconds(10), milliseconds(1000)));
}

void Client::Beat() {
  const Duration interval = milliseconds(static_cast<int64_t>(context_->plan->spec.lease_seconds * 1000 / 4));
  context_->events->After(interval, [this, life = life_] {
    if (life != life_ || session_ != Session::kIn) return;
    Call<HeartbeatAnswer>(
        [id = ClientId(index_), epoch = epoch_](Handle* model, Done<HeartbeatAnswer> done) {
          model->Heartbeat(id, epoch, {}, std::move(done));
        },
        [this](const absl::StatusOr<HeartbeatAnswer>& answer) {
          if (!answer.ok()) return EndsSession(answer.status()) ? Leave() : void();
          NoteDurable(answer->durable_sequence);
        });
    Beat();
  });
}

void Client::See(const Version& version, const Version& floor) {
  if (version < floor)
    context_->oracle->Violate(fmt::format("client {} pulled {} after it had seen {}", index_,
                                          version.ToString(), floor.ToString()));
  seen_ = std::max(seen_, version);
}

void Client::Pull() {
  Call<Version>([](Handle* model, Done<Version> done) { done(model->Pin()->version().version); },
                [this, floor = seen_](const absl::StatusOr<Version>& version) {
                  if (!version.ok()) return Leave();
                  See(*version, floor);
                  base_ = *version;
                });
}

void Client::Flush() {
  Call<Version>([](Handle* model, Done<Version> done) { model->Flush(std::move(done)); },
                [](const absl::StatusOr<Version>&) {});
}

void Client::Close() {
  Call<bool>(
      [id = ClientId(index_), epoch = epoch_](Handle* model, Done<bool> done) {
        model->Close(id, epoch, [done](const absl::Status& status) {
          done(status.ok() ? absl::StatusOr<bool>(true) : absl::StatusOr<bool>(status));
        });
      },
      [this](const absl::StatusOr<bool>& closed) {
        const bool done = closed.ok() && may_leave();
        Leave();
        if (done) session_ = Session::kDone;
      });
}

// The lowest push that is neither decided nor under way, or a new one. False when there is nothing to send
// now.
bool Client::SendNext() {
  if (in_flight() >= window_) return false;
  const auto undecided = [](const Push& push) { return !push.decided; };
  const auto oldest = std::find_if(pushes_.begin(), pushes_.end(), undecided);
  // The server remembers its last answers only: none may be owed so long that it is forgotten.
  const auto end = oldest + std::min<ptrdiff_t>(pushes_.end() - oldest, kAnswersRemembered - 1);
  const auto next =
      std::find_if(oldest, end, [&](const Push& push) { return undecided(push) && !push.in_flight; });
  if (next != end) {
    Send(static_cast<uint64_t>(next - pushes_.begin()) + 1);
    return true;
  }
  if (finishing_ || pushes_.size() >= kPushesMax || end != pushes_.end() ||
      end - oldest >= kAnswersRemembered - 1)
    return false;
  pushes_.push_back({.base = base_});
  Send(pushes_.size());
  return true;
}

void Client::Send(uint64_t sequence) {
  ++context_->commands;
  Push& push = pushes_[sequence - 1];
  push.in_flight = true;
  UploadRequest request;
  request.header = {.client_id = ClientId(index_),
                    .epoch = epoch_,
                    .sequence = sequence,
                    .kind = PushKind::kDelta,
                    .base = push.base,
                    .samples = SamplesOf(index_)};
  std::vector<float> values = Delta(*context_->plan, index_, sequence, kUnit);
  request.total_bytes = values.size() * sizeof(float);
  request.save_soon = sequence % 4 == 0;
  for (const SessionOpened::Partial& partial : partials_)
    if (partial.sequence == sequence) request.resume_offset = partial.bytes_received;
  std::erase_if(partials_, [&](const auto& partial) { return partial.sequence == sequence; });
  // A sync round may take as long as its slowest worker.
  const Done<PushAnswer> once = Once<PushAnswer>(
      3 * kTimeout,
      [this, sequence](const absl::StatusOr<PushAnswer>& answer) { OnDecided(sequence, answer); });
  std::make_shared<PushCall>(context_, index_, std::move(request), std::move(values), once)->Start();
}

void Client::OnDecided(uint64_t sequence, const absl::StatusOr<PushAnswer>& answer) {
  Push& push = pushes_[sequence - 1];
  push.in_flight = false;
  if (!answer.ok()) return OnTrouble(sequence, answer.status());
  push.decided = push.accepted = true;
  NoteDurable(answer->durable_sequence);
}

void Client::OnTrouble(uint64_t sequence, const absl::Status& status) {
  Push& push = pushes_[sequence - 1];
  trouble_ = status.ToString();
  const std::string reason = ReasonOf(status);
  if (reason == "STALE_BASE") {
    push.decided = true;  // used up without effect
  } else if (reason == "RESYNC") {
    push.base = base_;  // the number is free: the same push against what there is now
    Pull();
  } else if (EndsSession(status) || absl::IsAborted(status) || absl::IsInvalidArgument(status)) {
    if (absl::IsInvalidArgument(status) && reason != "BAD_OFFSET")
      context_->oracle->Violate(fmt::format("push {} of client {}: {}", sequence, index_, status.ToString()));
    Leave();
  }
}

void Client::Restart() {
  if (session_ == Session::kDone) return;
  const uint64_t old_epoch = epoch_;
  const uint64_t next = pushes_.size() + 1;
  Leave();
  epoch_ = 0;
  if (old_epoch != 0) HauntAsOldProcess(old_epoch, next);
}

// After the new process has its session, the old one pushes what nobody must ever see.
void Client::HauntAsOldProcess(uint64_t epoch, uint64_t sequence) {
  context_->events->After(
      context_->random->Between(milliseconds(100), milliseconds(8000)), [this, epoch, sequence] {
        if (session_ != Session::kIn || epoch_ <= epoch) return;
        ++context_->commands;
        UploadRequest request;
        request.header = {.client_id = ClientId(index_),
                          .epoch = epoch,
                          .sequence = std::max(sequence, pushes_.size() + 1),
                          .kind = PushKind::kDelta,
                          .base = seen_,
                          .samples = SamplesOf(index_)};
        std::vector<float> values = Delta(*context_->plan, index_, 1000, 1000 * kUnit);
        request.total_bytes = values.size() * sizeof(float);
        std::make_shared<PushCall>(context_, index_, std::move(request), std::move(values),
                                   [this](const absl::StatusOr<PushAnswer>& answer) {
                                     if (answer.ok() && answer->outcome != PushOutcome::kDuplicate)
                                       context_->oracle->Violate(fmt::format(
                                           "a push of an older epoch of client {} was taken", index_));
                                   })
            ->Start();
      });
}

}  // namespace stepback::sim
