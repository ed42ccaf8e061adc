// Package export_portolan_channel_actions is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_actions

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	types "wit_component/portolan_channel_types"
)

// Resume goes on when the payer came back.
func Resume(context types.Context, original types.Authorization, of types.Target, returned []wit.Tuple2[string, string], answers []types.Answer) wit.Result[types.PaymentStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakePaymentStepSend, types.MakePaymentStepDone, func(ctx *portolan.Ctx) (types.PaymentOutcome, error) {
		return adapter.Resume(ctx, original, of, returned)
	})
}
