# Made by pecgate for relay journal of pecgate.comune.example. docs/groupware.md explains every line.
# Know before you run it: every customer of Microsoft 365 connects from the same addresses with the same certificate, so any of them could name your users: make a secret with pecgate password --secret and write it as secret_header: of the relay
# Know before you run it: journal: true: reports go to journal@pecgate.comune.example and are believed; Exchange delivers the messages themselves all the same, so mark what it is not to deliver by suffix or domain too, or take a connector in place of reports
# Microsoft 365: takes away what pecgate setup m365 made, and nothing else. Run it after Connect-ExchangeOnline.
# Stop at the first error instead of going on with half a set-up.
$ErrorActionPreference = 'Stop'
# The name of all that is made, and the comment by which it is known again: what bears another is never touched.
$Name = 'pecgate journal'
$Marker = 'Made by pecgate setup m365 for relay journal'

# The journal rule first, by name and address: from here on nothing is reported.
$journal = 'journal@pecgate.comune.example'
Get-JournalRule | Where-Object { $_.Name -eq $Name -and "$($_.JournalEmailAddress)" -eq $journal } | ForEach-Object { Remove-JournalRule -Identity $_.Name -Confirm:$false }
Get-MailContact | Where-Object { $_.Name -eq 'pecgate journal journal' -and "$($_.ExternalEmailAddress)" -eq "SMTP:$journal" } | ForEach-Object { Remove-MailContact -Identity $_.Name -Confirm:$false }

# The mail-flow rules, known by their comment, whatever users they were for.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# The connectors, once no rule names them any more.
Get-OutboundConnector | Where-Object { $_.Name -eq 'pecgate journal journal' -and $_.Comment -eq $Marker } | ForEach-Object { Remove-OutboundConnector -Identity $_.Name -Confirm:$false }
Get-OutboundConnector | Where-Object { $_.Name -eq $Name -and $_.Comment -eq $Marker } | ForEach-Object { Remove-OutboundConnector -Identity $_.Name -Confirm:$false }
Get-InboundConnector | Where-Object { $_.Name -eq $Name -and $_.Comment -eq $Marker } | ForEach-Object { Remove-InboundConnector -Identity $_.Name -Confirm:$false }

# The remote domains, by name and domain.
$remoteDomains = @{ 'pecgate journal *.pec' = '*.pec'; 'pecgate journal pecgate.comune.example' = 'pecgate.comune.example' }
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    Get-RemoteDomain | Where-Object { $_.Name -eq $key -and "$($_.DomainName)" -eq $domain } | ForEach-Object { Remove-RemoteDomain -Identity $_.Name -Confirm:$false }
}

Write-Host 'Done.'
