// Rules by which clef signs the deposits of one Keysteward cluster and nothing
// else, without asking anybody. Fill in the four values, then have clef attest
// the file's hash; clef ignores a file that was changed since.

// The deposit contract, in small letters. That of mainnet and Hoodi:
var contract = "0x00000000219ab540356cbb839cbe05303d7705fa";

// The stake per key in wei, hexadecimal without leading zeros: 32 ETH.
var value = "0x1bc16d674ec800000";

// Where stakes go when they are withdrawn, in small letters: 0x01 (0x02 with
// --compounding), 22 zeros, the 40 digits of --withdrawal-address. Left empty,
// any credentials are signed for; only --bls-withdrawal needs that.
var credentials = "";

// The most that is offered for one gas, in wei: as --max-fee-gwei, 2,000 gwei.
var maxFeePerGas = 2000e9;

function OnSignerStartup(info) {}

function OnApprovedTx(tx) {}

function ApproveListing(request) { return "Reject"; }

function ApproveSignData(request) { return "Reject"; }

function ApproveTx(request) {
  return isDeposit(request.transaction) ? "Approve" : "Reject";
}

// A missing value makes a comparison false, and so the answer.
function isDeposit(tx) {
  return tx.to.toLowerCase() === contract &&
    tx.value === value &&
    parseInt(tx.gas, 16) <= 400000 &&
    parseInt(tx.maxFeePerGas, 16) <= maxFeePerGas &&
    isDepositCall(tx.data.toLowerCase());
}

// deposit(bytes pubkey, bytes credentials, bytes signature, bytes32 root) in the
// one way in which contracts' callers encode it: so credentials are where they are.
function isDepositCall(data) {
  return data.length === 2 + 2 * (4 + 13 * 32) &&
    data.slice(0, 10) === "0x22895118" &&
    number(data, 0) === 0x80 && number(data, 1) === 0xe0 && number(data, 2) === 0x120 &&
    number(data, 4) === 48 && number(data, 7) === 32 && number(data, 9) === 96 &&
    (credentials === "" || "0x" + word(data, 8) === credentials);
}

function word(data, n) { return data.slice(10 + 64 * n, 10 + 64 * (n + 1)); }

function number(data, n) { return parseInt(word(data, n), 16); }
