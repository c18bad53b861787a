// Reserves what a piece of work may take, commits what it took, and reads why a reservation is refused.
import { readFileSync } from "node:fs";
import { credentials, type ServiceError } from "@grpc/grpc-js";
import { ErrorInfo } from "./stubs/google/rpc/error_details.js";
import { Status } from "./stubs/google/rpc/status.js";
import {
  CommitReservationRequest, type CommitReservationResponse, CreditServiceClient, ReserveRequest, type ReserveResponse,
} from "./stubs/ledger/v1/credit_service.js";
import { UsageList } from "./stubs/ledger/v1/usage.js";

type Done<Answer> = (error: ServiceError | null, answer: Answer) => void;

function call<Answer>(start: (done: Done<Answer>) => unknown): Promise<Answer> {
  return new Promise((resolve, reject) => start((error, answer) => (error ? reject(error) : resolve(answer))));
}

// What an error says beside its text: the reason, and its variables.
function reasonOf(error: ServiceError): ErrorInfo | undefined {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
  const info = details.find((each) => each.typeUrl.endsWith("/google.rpc.ErrorInfo"));
  return info && ErrorInfo.decode(info.value);
}

const [target, customerId] = process.argv.slice(2);
// What is sent again, and when, as the ledger publishes it; a request id makes it safe.
const config = readFileSync("service_config.json", "utf8");
const client = new CreditServiceClient(target, credentials.createInsecure(), { "grpc.service_config": config });
const tokens = { model: "openai/gpt-5", input: 9000n, output: 600n };
const usage = UsageList.fromPartial({ items: [{ kind: { $case: "tokens", value: tokens } }] });

const reserve = ReserveRequest.fromPartial({ requestId: "ticket-17/r", customerId, hold: { $case: "usage", value: usage } });
const { reservation } = await call<ReserveResponse>((done) => client.reserve(reserve, done));
const reservationId = reservation!.reservationId;
const commit = CommitReservationRequest.fromPartial({
  requestId: "ticket-17/c", customerId, reservationId, spent: { $case: "usage", value: usage }, final: true,
});
const { charge, balance } = await call<CommitReservationResponse>((done) => client.commitReservation(commit, done));
console.log(`held ${reservation!.heldMicros}, charged ${charge!.chargedMicros}, left ${balance!.availableMicros}`);

const tooMuch = ReserveRequest.fromPartial({
  requestId: "ticket-18/r", customerId, hold: { $case: "amountMicros", value: 10n ** 12n },
});
try {
  await call<ReserveResponse>((done) => client.reserve(tooMuch, done));
} catch (error) {
  const info = reasonOf(error as ServiceError);
  console.log(`${info?.reason}: short of ${info?.metadata.short_micros} micro-credits`);
}
client.close();
